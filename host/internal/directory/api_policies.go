package directory

import (
	"net/http"

	"sallyport/host/internal/model"
	"sallyport/policydata"
)

// Names of the policies for the host's own API that a first start makes, beside
// AdminName.
const (
	EditorName = "editor"
	ViewerName = "viewer"
)

// apiPoliciesVersion says which of them there are: who adds one raises it, and a
// host then adds it to stores that were made before.
const apiPoliciesVersion = 1

// apiPolicies are the policies of the host's own API. They are policies and not
// roles: a policy is attached by a change of whoever gets it, and these stay as
// they are.
//
// Viewer and editor name the paths that they are for. What a later version adds
// is not theirs until somebody says so: a backup, say, holds what no list shows.
func apiPolicies() []*model.Policy {
	reserved := func(name, description string, rules ...model.Rule) *model.Policy {
		return &model.Policy{Metadata: model.Metadata{Name: name, Description: description, Reserved: true}, Rules: rules}
	}
	return []*model.Policy{
		reserved(AdminName, "everything at the host's own API", apiRule("all", []string{"*"}, "/**")),
		reserved(EditorName, "read all and change what is no more than one holds, at the host's own API",
			append(viewing(), editing()...)...),
		reserved(ViewerName, "read all at the host's own API", viewing()...),
	}
}

func apiRule(name string, methods []string, paths ...string) model.Rule {
	return model.Rule{Name: name, Effect: model.Allow, Methods: methods, Hosts: []string{policydata.HostAPI}, Paths: paths}
}

// viewing allows to read entities and what follows from them. No answer there
// has a secret.
func viewing() []model.Rule {
	return []model.Rule{
		apiRule("read", []string{http.MethodGet, http.MethodHead},
			"/api/v1/users/**", "/api/v1/groups/**", "/api/v1/policies/**", "/api/v1/roles/**",
			"/api/v1/services/**", "/api/v1/issuers/**", "/api/v1/credentials/**", "/api/v1/revocations/**",
			"/api/v1/export", "/api/v1/audit", "/api/v1/generation", "/api/v1/proxies", "/api/v1/proxy-tokens", "/metrics"),
		apiRule("decide", []string{http.MethodPost}, "/api/v1/check", "/api/v1/access", "/api/v1/who-can", "/api/v1/test"),
	}
}

// editing allows to write what package grants bounds, and to make and withdraw
// access keys of one's own. Those of others it does not even withdraw: that would
// lock out whoever could stop it.
func editing() []model.Rule {
	own := apiRule("own-keys", []string{http.MethodPost, http.MethodDelete}, "/api/v1/users/{name}/credentials/**")
	own.When = "path.name == user.name"
	return []model.Rule{
		apiRule("write", []string{http.MethodPut, http.MethodPost, http.MethodDelete},
			"/api/v1/users/*", "/api/v1/users/*/policies/**", "/api/v1/groups/**", "/api/v1/policies/**", "/api/v1/roles/**",
			"/api/v1/services/*", "/api/v1/issuers/*", "/api/v1/issuers/*/refresh", "/api/v1/apply", "/api/v1/rollback", "/api/v1/revocations/**"),
		own,
	}
}
