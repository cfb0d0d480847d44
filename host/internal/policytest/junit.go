package policytest

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
)

// The elements of a JUnit report, as continuous integration systems read them.
type (
	junitSuites struct {
		XMLName  xml.Name      `xml:"testsuites"`
		Tests    int           `xml:"tests,attr"`
		Failures int           `xml:"failures,attr"`
		Suites   []*junitSuite `xml:"testsuite"`
	}
	junitSuite struct {
		Name     string      `xml:"name,attr"`
		Tests    int         `xml:"tests,attr"`
		Failures int         `xml:"failures,attr"`
		Cases    []junitCase `xml:"testcase"`
	}
	junitCase struct {
		Name    string        `xml:"name,attr"`
		Class   string        `xml:"classname,attr"`
		File    string        `xml:"file,attr"`
		Line    int           `xml:"line,attr"`
		Failure *junitFailure `xml:"failure"`
	}
	junitFailure struct {
		Message string `xml:"message,attr"`
		Text    string `xml:",chardata"`
	}
)

// WriteJUnit writes a report as JUnit XML: a suite of tests a testsuite, a
// decision a testcase.
func (r *Report) WriteJUnit(w io.Writer) error {
	out := junitSuites{Tests: len(r.Results), Failures: r.Failed}
	var last *junitSuite
	for i := range r.Results {
		x := &r.Results[i]
		if last == nil || last.Name != x.Suite {
			last = &junitSuite{Name: x.Suite}
			out.Suites = append(out.Suites, last)
		}
		last.Tests++
		c := junitCase{Name: x.Principal + ": " + x.Request, Class: x.Suite, File: x.File, Line: x.Line}
		if x.Test != "" {
			c.Class += "." + x.Test
		}
		if !x.OK {
			last.Failures++
			c.Failure = &junitFailure{Message: x.Why[0], Text: fmt.Sprintf("%s:%d\n%s\n%s", x.File, x.Line, strings.Join(x.Why, "\n"), x.Got)}
		}
		last.Cases = append(last.Cases, c)
	}
	if _, err := io.WriteString(w, xml.Header); err != nil {
		return err
	}
	encoder := xml.NewEncoder(w)
	encoder.Indent("", "  ")
	if err := encoder.Encode(out); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}
