// Command mutate shows that the tests see when the code goes wrong: it puts one
// mistake after another into the source and runs the tests, which must fail. It
// exits with 1 if they don't, or if a mutation can't be made. The tree is never
// touched: the compiler gets the changed file by an overlay (go help build), and
// where a test runs the built filter, all happens in a copy of the tree.
//
// Mutations come in groups (groups.go). Without a name all groups are run but
// those of the built filter, which take a minute a mutation.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"time"
)

// A mutation replaces a text of a file, which stands there once.
type mutation struct {
	name     string
	file     string
	old, new string
}

func main() {
	name := flag.String("group", "", "run this group")
	only := flag.String("only", "", "run the mutations whose names or files contain this")
	flag.Parse()
	if err := run(*name, *only); err != nil {
		fmt.Fprintln(os.Stderr, "mutate:", err)
		os.Exit(1)
	}
}

func run(name, only string) error {
	ran, survived := 0, 0
	for i := range groups {
		g := &groups[i]
		if name != "" && g.name != name || name == "" && g.built {
			continue
		}
		r, s, err := g.run(only)
		if err != nil {
			return fmt.Errorf("group %s: %w", g.name, err)
		}
		ran, survived = ran+r, survived+s
	}
	if survived > 0 || ran == 0 {
		return fmt.Errorf("%d of %d mutations were not caught", survived, ran)
	}
	return nil
}

// run runs the mutations of a group, and returns how many that were and how many
// of them no test caught.
func (g *group) run(only string) (ran, survived int, err error) {
	w, err := newWorkshop(g.built)
	if err != nil {
		return 0, 0, err
	}
	defer w.close()
	for i := range g.mutations {
		m := &g.mutations[i]
		if !strings.Contains(m.name, only) && !strings.Contains(m.file, only) {
			continue
		}
		ran++
		begun := time.Now()
		caught, err := w.try(m, g.testsOf(m.file))
		result := "caught by " + caught
		switch {
		case err != nil:
			result = "NOT TRIED: " + err.Error()
			survived++
		case caught == "":
			result = "SURVIVED"
			survived++
		}
		fmt.Printf("%-8s %-56s %5.1fs  %s\n", g.name, m.name, time.Since(begun).Seconds(), result)
	}
	if ran > 0 {
		fmt.Printf("%-8s %d of %d mutations caught\n", g.name, ran-survived, ran)
	}
	return ran, survived, nil
}
