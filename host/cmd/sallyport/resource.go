package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"sallyport/host/internal/api"
	"sallyport/host/internal/issuerkeys"
	"sallyport/host/internal/model"
)

// resource is a kind of thing that get and delete know.
type resource struct {
	path  string     // below the API's prefix; its plural name
	names []string   // further names that it is called by
	kind  model.Kind // "": no documents
	head  []string   // columns of its table
	row   func(api.Document) ([]string, error)
}

const revocationsPath = "revocations"

// resources are what get and delete know, in the order of their lists.
func resources() []resource {
	return []resource{
		{"users", []string{"user", "usr", "u"}, model.KindUser, []string{"NAME", "DISABLED", "EMAIL", "POLICIES"}, userRow},
		{"groups", []string{"group", "grp", "g"}, model.KindGroup, []string{"NAME", "MEMBERS", "POLICIES"}, groupRow},
		{"policies", []string{"policy", "pol", "p"}, model.KindPolicy, []string{"NAME", "RULES", "DESCRIPTION"}, policyRow},
		{"roles", []string{"role", "r"}, model.KindRole, []string{"NAME", "GOVERNING", "POLICIES", "USERS", "GROUPS", "CLAIMS"}, roleRow},
		{
			"services",
			[]string{"service", "serviceaccounts", "serviceaccount", "svc", "sa"},
			model.KindServiceAccount,
			[]string{"NAME", "DISABLED", "ROLE", "IDENTITIES"},
			serviceRow,
		},
		{"issuers", []string{"issuer", "iss"}, model.KindIssuer, []string{"NAME", "ISSUER", "KEYS", "AGE", "LAST ERROR"}, issuerRow},
		{path: revocationsPath, names: []string{"revocation", "rev"}},
	}
}

// resourceNamed returns what a name on the command line stands for.
func resourceNamed(cmd *cobra.Command, name string) (resource, error) {
	all := resources()
	lower := strings.ToLower(name)
	for _, r := range all {
		if lower == r.path || slices.Contains(r.names, lower) {
			return r, nil
		}
	}
	plurals := make([]string, len(all))
	for i, r := range all {
		plurals[i] = r.path
	}
	return resource{}, usageError(cmd, fmt.Sprintf("unknown kind %q: there are %s", name, strings.Join(plurals, ", ")))
}

// at returns the path of what has these names below a resource.
func (r resource) at(names ...string) string {
	path := "/api/v1/" + r.path
	for _, n := range names {
		path += "/" + api.PathName(n)
	}
	return path
}

// maxPage is the largest page that the API gives.
const maxPage = 1000

var maxAmount = strconv.Itoa(maxPage)

// list reads the pages of a list until it has limit entries; 0 is all of them.
func list[T any](ctx context.Context, c *client, path string, query url.Values, limit int) ([]T, error) {
	all := []T{}
	query = maps.Clone(query)
	query.Set("amount", maxAmount)
	for {
		if rest := limit - len(all); limit > 0 && rest < maxPage {
			query.Set("amount", strconv.Itoa(rest))
		}
		var page api.Page[T]
		if err := c.do(ctx, http.MethodGet, path+"?"+query.Encode(), "", nil, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Results...)
		if !page.Pagination.HasMore || len(all) == limit {
			return all, nil
		}
		query.Set("after", page.Pagination.NextOffset)
	}
}

// entity reads the spec of a document as the entity that it describes.
func entity[E model.Entity](doc api.Document) (e E, err error) {
	e = model.New(doc.Kind).(E)
	if err := json.Unmarshal(doc.Spec, e); err != nil {
		return e, fmt.Errorf("%s %q: the host's answer: %w", doc.Kind, doc.Metadata.Name, err)
	}
	return e, nil
}

func userRow(doc api.Document) ([]string, error) {
	u, err := entity[*model.User](doc)
	return []string{doc.Metadata.Name, yesNo(u.Disabled), u.Email, names(u.Policies)}, err
}

func groupRow(doc api.Document) ([]string, error) {
	g, err := entity[*model.Group](doc)
	return []string{doc.Metadata.Name, names(g.Members), names(g.Policies)}, err
}

func policyRow(doc api.Document) ([]string, error) {
	p, err := entity[*model.Policy](doc)
	return []string{doc.Metadata.Name, fmt.Sprint(len(p.Rules)), firstLine(doc.Metadata.Description)}, err
}

func roleRow(doc api.Document) ([]string, error) {
	r, err := entity[*model.Role](doc)
	return []string{doc.Metadata.Name, yesNo(r.Governing), names(r.Policies), names(r.Users), names(r.Groups), names(r.Claims)}, err
}

func serviceRow(doc api.Document) ([]string, error) {
	s, err := entity[*model.ServiceAccount](doc)
	identities := make([]string, len(s.Identities))
	for i, id := range s.Identities {
		identities[i] = id.Issuer + ":" + id.Client
	}
	return []string{doc.Metadata.Name, yesNo(s.Disabled), s.Role, names(identities)}, err
}

func issuerRow(doc api.Document) ([]string, error) {
	i, err := entity[*model.Issuer](doc)
	if err != nil {
		return nil, err
	}
	if doc.Status == nil && len(i.JWKS.Inline) > 0 {
		var set struct{ Keys []json.RawMessage }
		err := json.Unmarshal(i.JWKS.Inline, &set)
		return []string{doc.Metadata.Name, i.Issuer, fmt.Sprint(len(set.Keys)), "inline", ""}, err
	}
	var status issuerkeys.Status
	data, err := json.Marshal(doc.Status)
	if err == nil {
		err = json.Unmarshal(data, &status)
	}
	return []string{doc.Metadata.Name, i.Issuer, fmt.Sprint(len(status.Keys)), age(status, time.Now()), firstLine(status.LastError)}, err
}

// age says how long ago an issuer's keys were fetched.
func age(s issuerkeys.Status, now time.Time) string {
	if s.LastSuccess.IsZero() {
		return "not since the host started"
	}
	return now.Sub(s.LastSuccess).Round(time.Second).String()
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// maxListed is how many names a table shows of a list.
const maxListed = 3

func names(list []string) string {
	if len(list) > maxListed {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:maxListed], ","), len(list)-maxListed)
	}
	return strings.Join(list, ",")
}

// firstLine keeps a cell on a line.
func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}
