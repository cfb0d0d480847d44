package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport/host/internal/devissuer"
	"sallyport/host/internal/jwks"
	"sallyport/policydata"
	"sallyport/policydata/token"
)

func newToken() *cobra.Command {
	return newGroup("token", "Mint and verify tokens", newTokenMint(), newTokenVerify())
}

func newTokenMint() *cobra.Command {
	var dataDir string
	var claims []string
	r := devissuer.MintRequest{}
	cmd := &cobra.Command{
		Use:   "mint --user NAME [--group NAME]...",
		Short: "Print a token of the development issuer",
		Long: `Print a token of the development issuer, whose key lies in the data directory. It is
accepted by a demo, and by a host that was started with --insecure-dev-issuer.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := required(cmd, "user", "a user's name"); err != nil {
				return err
			}
			r.Claims = map[string]json.RawMessage{}
			for _, c := range claims {
				name, value, ok := strings.Cut(c, "=")
				if !ok || name == "" {
					return fmt.Errorf("--claim %q: want name=json", c)
				}
				r.Claims[name] = json.RawMessage(value)
			}
			r.Now = time.Now()
			issuer, err := devissuer.Open(dataDir)
			if err != nil {
				return err
			}
			minted, err := issuer.Mint(r)
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), minted)
			return err
		},
	}
	f := cmd.Flags()
	f.StringVar(&dataDir, "data-dir", defaultDataDir, "directory of the key")
	f.StringVar(&r.User, "user", "", "user name")
	f.StringArrayVar(&r.Groups, "group", nil, "group; may be repeated")
	f.StringArrayVar(&claims, "claim", nil, "further claim as name=json; may be repeated")
	f.DurationVar(&r.TTL, "ttl", time.Hour, "how long the token is good")
	f.StringVar(&r.Alg, "alg", "RS256", "RS256 or ES256")
	return cmd
}

func newTokenVerify() *cobra.Command {
	var batch string
	cmd := &cobra.Command{
		Use:   "verify --batch FILE.jsonl",
		Short: "Check signatures of tokens against keys, as the filter does",
		Long: `Check signatures and keys, by the code that the filter uses; the payload may be
anything. Reads a JSON object a line, {"id":"","jws":"<compact>","jwks":{...}}, and
prints {"id":"","ok":true,"reason":""} for each.`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := required(cmd, "batch", "a file of tokens"); err != nil {
				return err
			}
			return eachLine(cmd, batch, func(line []byte) (any, error) { return verifyLine(line) })
		},
	}
	cmd.Flags().StringVar(&batch, "batch", "", "file of tokens, - for standard input")
	return cmd
}

// verification is the answer to a line of a batch.
type verification struct {
	ID     string `json:"id"`
	OK     bool   `json:"ok"`
	Reason string `json:"reason"`
}

func verifyLine(line []byte) (verification, error) {
	var in struct {
		ID   string          `json:"id"`
		JWS  string          `json:"jws"`
		JWKS json.RawMessage `json:"jwks"`
	}
	if err := json.Unmarshal(line, &in); err != nil {
		return verification{}, errors.New(`want {"id":"","jws":"<compact>","jwks":{...}}: ` + strings.TrimPrefix(err.Error(), "json: "))
	}
	v := verification{ID: in.ID}
	keys, err := jwks.Parse(in.JWKS)
	reason := policydata.ReasonBadToken
	if err == nil {
		reason = token.VerifySignature(in.JWS, keys, token.Algorithms())
	}
	if v.OK = reason == policydata.ReasonAllowed; !v.OK {
		v.Reason = reason.String()
	}
	return v, nil
}
