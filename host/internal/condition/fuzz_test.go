package condition_test

import (
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"regexp"
	"testing"
	"unicode/utf8"

	"sallyport/host/internal/condition"
	"sallyport/policydata"
)

var messageForm = regexp.MustCompile(`^[1-9][0-9]*:[1-9][0-9]*: [^\pC]+$`)

// checkMessage checks that an error is one short line that begins with a place.
func checkMessage(err error) error {
	if !messageForm.MatchString(err.Error()) || len(err.Error()) > 1000 {
		return fmt.Errorf("error %q is not one line with a place", err)
	}
	return nil
}

// checkTree checks what Build relies on, apart from types.
func checkTree(root *policydata.Expr) error {
	nodes := 0
	var walk func(e *policydata.Expr, depth int) error
	walk = func(e *policydata.Expr, depth int) error {
		nodes++
		switch {
		case e.Args == nil:
			return errors.New("a node without Args")
		case !utf8.ValidString(e.Str):
			return errors.New("a string that is not UTF-8")
		case nodes > policydata.MaxExprNodes || depth > policydata.MaxExprDepth:
			return fmt.Errorf("node %d at depth %d", nodes, depth)
		}
		for _, a := range e.Args {
			if err := walk(a, depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	return walk(root, 1)
}

// FuzzCompile checks that no source makes Compile panic, that its errors are one
// line, and that what it accepts means the same in cel-go and in the engine.
func FuzzCompile(f *testing.F) {
	for _, src := range seedConditions {
		f.Add(src)
	}
	for _, src := range []string{"", "(", "'", "a ? b : c", "[[[[", "!!!!-1", "{1:2}", "token.groups.exists(g, g == 'a')", "{}.map(x, x)", "'\\x", "1e", "//"} {
		f.Add(src)
	}
	f.Fuzz(func(t *testing.T, src string) {
		expr, err := condition.Compile(src, pathCaptures, hostCaptures)
		if err != nil {
			if err := checkMessage(err); err != nil {
				t.Error(err)
			}
			return
		}
		if err := checkTree(expr); err != nil {
			t.Fatal(err)
		}
		checkAgreement(t, src, expr, fixedInputs)
	})
}

// FuzzAgreement checks conditions of the generator against cel-go.
func FuzzAgreement(f *testing.F) {
	f.Add(uint64(1), uint64(2))
	f.Fuzz(func(t *testing.T, a, b uint64) {
		gen := &generator{rnd: mathrand.New(mathrand.NewPCG(a, b))}
		src := gen.boolean(1 + gen.rnd.IntN(5))
		expr, err := condition.Compile(src, pathCaptures, hostCaptures)
		if err != nil {
			return
		}
		inputs := make([]input, 10)
		for i := range inputs {
			inputs[i] = randomInput(gen)
		}
		checkAgreement(t, src, expr, inputs)
	})
}
