package main

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"mime/multipart"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"sallyport/host/internal/api"
	"sallyport/host/internal/demo"
	"sallyport/host/internal/manifest"
	"sallyport/host/internal/policytest"
	"sallyport/policydata"
)

// maxAnswerBytes bounds what is read of an answer.
const maxAnswerBytes = 64 << 20

// client calls the API.
type client struct {
	server, accessKeyID, secret string
	http                        http.Client

	progress *progress
	working  string // what the host does between a request and its answer
}

// shows has requests show on a terminal how far they are, until the progress that
// it returns is ended; working is what the host does in between.
func (c *client) shows(cmd *cobra.Command, working string) *progress {
	c.progress, c.working = newProgress(cmd.ErrOrStderr(), progressDelay), working
	if !isTerminal(cmd.InOrStdin()) { // or it would be in the way of who types
		c.progress.stage("reading", 0)
	}
	return c.progress
}

// addClientFlags adds the flags by which commands find the host.
func addClientFlags(cmd *cobra.Command) {
	cmd.Flags().String("server", "", "URL of the host (default $SALLYPORT_SERVER, or http://"+defaultHTTPAddr+")")
	cmd.Flags().String("ca-file", "", "PEM file of the authorities of the host's certificate (default $SALLYPORT_CA_FILE, or the system's)")
	cmd.Flags().String("cert", "", "PEM file of a certificate to show to the host (default $SALLYPORT_CERT_FILE)")
	cmd.Flags().String("key", "", "PEM file of its key (default $SALLYPORT_KEY_FILE)")
	cmd.Flags().String("data-dir", defaultDataDir, "where a demo on this machine left its credentials, if the environment has none")
}

// newClient returns a client with the credentials of the environment, or those
// of a demo that runs here.
func newClient(cmd *cobra.Command) (*client, error) {
	c := &client{
		server:      cmd.Flag("server").Value.String(),
		accessKeyID: os.Getenv("SALLYPORT_ACCESS_KEY_ID"),
		secret:      os.Getenv("SALLYPORT_SECRET_ACCESS_KEY"),
		http:        http.Client{Timeout: 2 * time.Minute, CheckRedirect: stayHere},
	}
	explicit := c.server != "" || os.Getenv("SALLYPORT_SERVER") != ""
	if c.server == "" {
		c.server = os.Getenv("SALLYPORT_SERVER")
	}
	if c.server == "" {
		c.server = "http://" + defaultHTTPAddr
	}
	if u, err := url.Parse(c.server); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, fmt.Errorf("server %q: want a URL such as http://%s", c.server, defaultHTTPAddr)
	}
	var err error
	if c.http.Transport, err = clientTransport(cmd); err != nil {
		return nil, err
	}
	switch {
	case c.accessKeyID != "" && c.secret != "":
		return c, nil
	case c.accessKeyID != "":
		return nil, errors.New("SALLYPORT_ACCESS_KEY_ID is set, and SALLYPORT_SECRET_ACCESS_KEY is not")
	case c.secret != "":
		return nil, errors.New("SALLYPORT_SECRET_ACCESS_KEY is set, and SALLYPORT_ACCESS_KEY_ID is not")
	}
	return c, c.findDemo(cmd.Flag("data-dir").Value.String(), explicit)
}

// clientTransport returns how to connect, as flags and environment say.
func clientTransport(cmd *cobra.Command) (http.RoundTripper, error) {
	value := func(flag, variable string) string { return cmp.Or(cmd.Flag(flag).Value.String(), os.Getenv(variable)) }
	ca := value("ca-file", "SALLYPORT_CA_FILE")
	cert, key := value("cert", "SALLYPORT_CERT_FILE"), value("key", "SALLYPORT_KEY_FILE")
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if ca != "" {
		pem, err := os.ReadFile(ca)
		if err != nil {
			return nil, err
		}
		if config.RootCAs = x509.NewCertPool(); !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s: no certificate in PEM", ca)
		}
	}
	if cert != "" || key != "" {
		if cert == "" || key == "" {
			return nil, errors.New("want both, --cert and --key, or neither")
		}
		pair, err := tls.LoadX509KeyPair(cert, key)
		if err != nil {
			return nil, fmt.Errorf("%s and %s: %w", cert, key, err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = config
	return t, nil
}

// explainCall says what to do about a request that got no answer.
func explainCall(err error) error {
	var unknown x509.UnknownAuthorityError
	var name x509.HostnameError
	var plain tls.RecordHeaderError
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("%w; is the host running (sallyport serve, or sallyport demo)?", err)
	case errors.As(err, &unknown):
		return fmt.Errorf("%w; --ca-file or SALLYPORT_CA_FILE names the authorities of the host's certificate", err)
	case errors.As(err, &name):
		return fmt.Errorf("%w; --server must name the host as its certificate does", err)
	case errors.As(err, &plain):
		return fmt.Errorf("%w; a host that was started without --tls-cert is reached by http", err)
	}
	return err
}

// findDemo takes the credentials of a demo on this machine, if it is the server
// that was named explicitly.
func (c *client) findDemo(dataDir string, explicit bool) error {
	found, err := demo.ReadCredentials(dataDir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err != nil || explicit && found.Server != strings.TrimSuffix(c.server, "/") {
		return errors.New("no credentials: set SALLYPORT_ACCESS_KEY_ID and SALLYPORT_SECRET_ACCESS_KEY, " +
			"which the first start of serve printed; those of a demo are found in its --data-dir")
	}
	c.server, c.accessKeyID, c.secret = found.Server, found.AccessKeyID, found.Secret
	return nil
}

// stayHere keeps redirections from taking the request, and what is in it, to
// somewhere else.
func stayHere(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// apiError is an error answer of the API.
type apiError struct{ api.Problem }

func (e *apiError) Error() string {
	if len(e.Errors) == 0 {
		text := fmt.Sprintf("%d %s", e.Status, e.Title)
		if e.Detail != "" {
			text += ": " + e.Detail
		}
		return text
	}
	errs := make(manifest.Errors, len(e.Errors))
	for i, x := range e.Errors {
		errs[i] = manifest.Error{File: x.File, Line: x.Line, Column: x.Column, Field: x.Field, Text: x.Detail}
	}
	return errs.Error() + "\n" + e.Detail
}

// post sends in as JSON and decodes the answer into out.
func (c *client) post(ctx context.Context, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	return c.do(ctx, http.MethodPost, path, "application/json", bytes.NewReader(body), out)
}

// do sends a request and decodes the answer into out.
func (c *client) do(ctx context.Context, method, path, contentType string, body io.Reader, out any) error {
	resp, err := c.send(ctx, method, path, contentType, body)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswerBytes))
	if err != nil {
		return err
	}
	if resp.StatusCode/100 == 2 {
		return json.Unmarshal(answer, out)
	}
	return errorOf(resp, answer)
}

// send sends a request and returns the answer, whatever its status.
func (c *client) send(ctx context.Context, method, path, contentType string, body io.Reader) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimSuffix(c.server, "/")+path, body)
	if err != nil {
		return nil, err
	}
	req.SetBasicAuth(c.accessKeyID, c.secret)
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	c.progress.stage(c.working, 0)
	if req.ContentLength > 0 {
		req.Body = c.progress.reading(req.Body, "sending", req.ContentLength, c.working)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, explainCall(err)
	}
	resp.Body = c.progress.reading(resp.Body, "receiving", resp.ContentLength, "working")
	return resp, nil
}

// errorOf returns the error that an answer is.
func errorOf(resp *http.Response, answer []byte) *apiError {
	e := &apiError{}
	if resp.StatusCode == http.StatusBadRequest && string(answer) == "Client sent an HTTP request to an HTTPS server.\n" {
		*e = apiError{api.Problem{Detail: "the host speaks TLS: --server or SALLYPORT_SERVER must begin with https"}}
	} else if resp.Header.Get("Content-Type") != "application/problem+json" || json.Unmarshal(answer, e) != nil {
		*e = apiError{api.Problem{Detail: "is " + resp.Request.URL.Host + " a Sallyport host? Its answer is no problem document"}}
	}
	e.Status, e.Title = resp.StatusCode, http.StatusText(resp.StatusCode)
	if e.Status == http.StatusUnauthorized && e.Detail == policydata.ReasonBadToken.String() {
		e.Detail = "the host does not know the access key, or the secret is wrong: see SALLYPORT_ACCESS_KEY_ID and SALLYPORT_SECRET_ACCESS_KEY"
	}
	return e
}

// apply sends documents, and tests that they must pass, under the names of their
// files.
func (c *client) apply(ctx context.Context, files, tests []manifest.File, query string) (result api.Applied, err error) {
	err = c.sendFiles(ctx, "/api/v1/apply"+query, files, tests, &result)
	return result, err
}

// test has the host run tests on what it has.
func (c *client) test(ctx context.Context, tests []manifest.File) (*policytest.Report, error) {
	report := &policytest.Report{}
	return report, c.sendFiles(ctx, "/api/v1/test", nil, tests, report)
}

// sendFiles sends files as a form.
func (c *client) sendFiles(ctx context.Context, path string, files, tests []manifest.File, out any) error {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	for name, list := range map[string][]manifest.File{"file": files, "test": tests} {
		for _, f := range list {
			part, err := form.CreateFormFile(name, f.Name)
			if err != nil {
				return err
			}
			if _, err := part.Write(f.Data); err != nil {
				return err
			}
		}
	}
	if err := form.Close(); err != nil {
		return err
	}
	return c.do(ctx, http.MethodPost, path, form.FormDataContentType(), &body, out)
}
