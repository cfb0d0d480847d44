package policytest

import (
	"fmt"
	"io"
	"strings"

	"sallyport/host/internal/explain"
)

// maxUnreached is how many rules that no test reached are printed.
const maxUnreached = 50

// Print writes what differs, then how much was tested; with verbose what passed,
// too, and all rules that no test reached.
func (r *Report) Print(w io.Writer, verbose bool) error {
	var out strings.Builder
	for i := range r.Results {
		x := &r.Results[i]
		if x.OK && !verbose {
			continue
		}
		mark := "FAIL"
		if x.OK {
			mark = "ok  "
		}
		fmt.Fprintf(&out, "%s %s:%d: %s\n", mark, x.File, x.Line, explain.Printable(x.name()))
		for _, why := range x.Why {
			fmt.Fprintf(&out, "       %s\n", explain.Printable(why))
		}
	}
	c := &r.Coverage
	fmt.Fprintf(&out, "%d of %d decisions as expected; %d of %d rules reached (%.1f %%)\n", r.Passed, r.Passed+r.Failed, c.Reached, c.Rules, c.Percent())
	for i, u := range c.Unreached {
		if !verbose && i == maxUnreached {
			fmt.Fprintf(&out, "  and %d more\n", len(c.Unreached)-i)
			break
		}
		fmt.Fprintf(&out, "  no test reaches %s/%s\n", explain.Printable(u.Policy), explain.Printable(u.Rule))
	}
	_, err := io.WriteString(w, out.String())
	return err
}

func (x *Result) name() string {
	name := x.Suite
	if x.Test != "" {
		name += " / " + x.Test
	}
	return name + ": " + x.Principal + ", " + x.Request
}
