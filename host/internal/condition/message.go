package condition

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"cel.dev/cel-go/cel"
	"cel.dev/cel-go/common"
	"cel.dev/cel-go/common/operators"
)

// maxReasonRunes bounds an error's text: cel-go quotes what it did not expect,
// which can be most of the source.
const maxReasonRunes = 200

// firstIssue returns the first problem in the order of the source, or nil. Those
// behind it are mostly consequences.
func firstIssue(issues *cel.Issues) error {
	if issues.Err() == nil {
		return nil
	}
	errs := issues.Errors()
	if len(errs) == 0 {
		return errors.New("1:1: the condition can't be read")
	}
	first := errs[0]
	for _, e := range errs[1:] {
		if before(e.Location, first.Location) {
			first = e
		}
	}
	return errorAt(first.Location, readable(first.Message))
}

func before(a, b common.Location) bool {
	if a.Line() != b.Line() {
		return a.Line() < b.Line()
	}
	return a.Column() < b.Column()
}

// errorAt returns an error of one line. cel-go counts columns from 0, and says
// -1 where it has no place.
func errorAt(at common.Location, reason string) error {
	line, column := max(at.Line(), 1), max(at.Column(), 0)+1
	return fmt.Errorf("%d:%d: %s", line, column, oneLine(reason))
}

// plainWords says what the parser's terms mean to who wrote the condition.
var plainWords = strings.NewReplacer(
	"Syntax error: ", "syntax error: ",
	"mismatched input ", "unexpected ",
	"extraneous input ", "unexpected ",
	"token recognition error at: ", "unknown character or unclosed string at ",
	"'<EOF>'", "end of condition",
)

// readable rewrites a message of cel-go: operators as they are written, no list
// of all the tokens that could have followed.
func readable(msg string) string {
	msg, _, _ = strings.Cut(msg, " expecting ")
	msg = plainWords.Replace(msg)
	for name := range calls {
		if op, ok := operators.FindReverse(name); ok {
			msg = strings.ReplaceAll(msg, "'"+name+"'", "'"+op+"'")
		}
	}
	return msg
}

// oneLine replaces what is not printable, which the source can hold within
// string constants, and cuts what is long.
func oneLine(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return ' '
	}, s)
	if runes := []rune(s); len(runes) > maxReasonRunes {
		return string(runes[:maxReasonRunes]) + "..."
	}
	return s
}
