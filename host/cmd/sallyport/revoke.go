package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport/host/internal/api"
	"sallyport/policydata/token"
)

// maxDate is the end of the year 9999, in seconds: RFC 3339 has no later time.
const maxDate = 253402300799

func newRevoke() *cobra.Command {
	var file, expires, output string
	var v api.Revocation
	cmd := &cobra.Command{
		Use:   "revoke --token FILE | --issuer NAME --jti ID --expires TIME",
		Short: "Have proxies refuse a token until it expires",
		Long: `Have proxies refuse a token until it expires. The token is read from a file, or from
standard input with --token -; it needs not be good, and goes nowhere: of it only iss,
jti and exp are sent. "sallyport get revocations" lists what is revoked, and
"sallyport delete revocation ISSUER JTI" lets a token count again.

A token without jti can't be revoked alone. spec.tokensNotBefore of a User revokes all
of the user's tokens that were issued earlier.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) (err error) {
			if err := checkForm(output); err != nil {
				return err
			}
			if v, err = revocationOf(cmd, v, file, expires); err != nil {
				return err
			}
			c, err := newClient(cmd)
			if err != nil {
				return err
			}
			var committed api.Committed
			err = c.post(cmd.Context(), "/api/v1/revocations", v, &committed)
			if err != nil {
				return err
			}
			return printRevoked(cmd, output, v, committed)
		},
	}
	f := cmd.Flags()
	f.StringVar(&file, "token", "", "file of the token, - for standard input")
	f.StringVar(&v.Issuer, "issuer", "", "name of the Issuer")
	f.StringVar(&v.ID, "jti", "", "the token's jti")
	f.StringVar(&expires, "expires", "", "when the token expires, such as 2026-11-01T12:00:00Z")
	f.StringVarP(&output, "output", "o", formTable, "table, json or yaml")
	addClientFlags(cmd)
	return cmd
}

// revocationOf returns what the flags say, or the token that they name.
func revocationOf(cmd *cobra.Command, v api.Revocation, file, expires string) (api.Revocation, error) {
	given := 0
	for _, name := range []string{"issuer", "jti", "expires"} {
		if cmd.Flag(name).Changed {
			given++
		}
	}
	switch {
	case file != "" && given > 0:
		return v, usageError(cmd, "--token says which token it is: --issuer, --jti and --expires don't go with it")
	case file != "":
		return readRevocation(cmd.InOrStdin(), file)
	case given < 3:
		return v, usageError(cmd, "want --token with the file of a token, or --issuer, --jti and --expires")
	}
	t, err := time.Parse(time.RFC3339, expires)
	if err != nil {
		return v, fmt.Errorf("--expires %q: want a time such as 2026-11-01T12:00:00Z", expires)
	}
	v.Expires = t
	return v, nil
}

// readRevocation reads a token from a file. No error quotes it.
func readRevocation(stdin io.Reader, file string) (v api.Revocation, err error) {
	in, err := openInput(stdin, file)
	if err != nil {
		return v, err
	}
	defer in.Close()
	raw, err := io.ReadAll(io.LimitReader(in, token.MaxTokenBytes+1))
	if err != nil {
		return v, err
	}
	payload, ok := token.UnverifiedPayload(strings.TrimSpace(string(raw)))
	if !ok {
		return v, fmt.Errorf("%s: is no token: want a JWT, three parts of base64url with dots between them", file)
	}
	if v, err = revocationOfClaims(payload); err != nil {
		return v, fmt.Errorf("%s: %w", file, err)
	}
	return v, nil
}

// revocationOfClaims reads the claims by their exact names, which decoding into
// a struct would not.
func revocationOfClaims(payload string) (v api.Revocation, err error) {
	var claims map[string]json.RawMessage
	if err := json.Unmarshal([]byte(payload), &claims); err != nil {
		return v, errors.New("its payload is no JSON object")
	}
	if json.Unmarshal(claims["iss"], &v.Iss) != nil || v.Iss == "" {
		return v, errors.New("the token has no iss")
	}
	if json.Unmarshal(claims["jti"], &v.ID) != nil || v.ID == "" {
		return v, errors.New("the token has no jti, so it can't be revoked alone; " +
			"spec.tokensNotBefore of the user revokes all tokens that were issued earlier")
	}
	var exp float64
	if json.Unmarshal(claims["exp"], &exp) != nil || exp <= 0 || exp > maxDate {
		return v, errors.New("the token has no exp that is a time in seconds, so no proxy takes it")
	}
	v.Expires = time.Unix(int64(math.Ceil(exp)), 0).UTC()
	return v, nil
}

func printRevoked(cmd *cobra.Command, output string, v api.Revocation, committed api.Committed) error {
	warnUnpublished(cmd, committed)
	type answer struct {
		api.Revocation
		api.Committed
	}
	return printAs(cmd.OutOrStdout(), output, answer{v, committed}, func(w io.Writer) error {
		issuer := "issuer      " + v.Issuer
		if v.Iss != "" {
			issuer = "iss         " + v.Iss
		}
		_, err := fmt.Fprintf(w, "revoked\n%s\njti         %s\nexpires     %s\ngeneration  %d\n",
			printable(issuer), printable(v.ID), v.Expires.Format(time.RFC3339), committed.Generation)
		return err
	})
}

// warnUnpublished says that a write has no effect yet.
func warnUnpublished(cmd *cobra.Command, c api.Committed) {
	if !c.Published {
		fmt.Fprintf(cmd.ErrOrStderr(), "generation %d is committed and not published yet: the host's log says why\n", c.Generation)
	}
}
