package api

import (
	"net/http"
	"slices"
	"strings"

	"sallyport/host/internal/model"
	"sallyport/policydata/pushapi"
)

// operation describes a route of the mux for the OpenAPI document.
type operation struct {
	route      string // as registered, "GET /api/v1/users"
	tag        string
	summary    string
	open       bool     // needs no credentials
	proxy      bool     // is for proxies, which prove who they are otherwise
	parameters []string // names of components, beside those of the path
	body       object   // media types
	answers    map[int]object
	errors     []int
}

// answer is a successful answer of one media type.
func answer(text, mediaType string, schema object, headers ...string) object {
	a := object{"description": text, "content": object{mediaType: object{"schema": schema}}}
	h := object{}
	for _, name := range headers {
		h[name] = headerRef(name)
	}
	if len(h) > 0 {
		a["headers"] = h
	}
	return a
}

func jsonAnswer(schema, text string, headers ...string) map[int]object {
	return map[int]object{http.StatusOK: answer(text, "application/json", schemaRef(schema), headers...)}
}

// documentBody is a body of documents: YAML or JSON.
func documentBody(schema string) object {
	return object{
		"application/yaml": object{"schema": schemaRef(schema)},
		"application/json": object{"schema": schemaRef(schema)},
	}
}

func jsonBody(schema string) object {
	return object{"application/json": object{"schema": schemaRef(schema)}}
}

// guardedOperation is an operation of the REST API, with the errors that follow
// from what it takes.
func guardedOperation(method, path, tag, summary string, answers map[int]object, errs ...int) operation {
	errs = append(errs, http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden,
		http.StatusTooManyRequests, http.StatusServiceUnavailable)
	if strings.Contains(path, "{") {
		errs = append(errs, http.StatusNotFound)
	}
	return operation{route: method + " " + apiPrefix + path, tag: tag, summary: summary, answers: answers, errors: errs}
}

func (op operation) with(parameters ...string) operation {
	op.parameters = append(slices.Clone(op.parameters), parameters...)
	return op
}

// taking adds a body, and that it can be too large.
func (op operation) taking(body object) operation {
	op.body = body
	op.errors = append(slices.Clone(op.errors), http.StatusRequestEntityTooLarge)
	return op
}

// changing adds what a write can meet.
func (op operation) changing() operation {
	op.errors = append(slices.Clone(op.errors), http.StatusConflict, http.StatusUnprocessableEntity,
		http.StatusInternalServerError, http.StatusInsufficientStorage)
	return op
}

// operations describe all routes.
func operations() []operation {
	list := hostOperations()
	for _, kind := range model.Kinds() {
		list = append(list, entityOperations(kind)...)
	}
	for _, rel := range relations() {
		list = append(list, relationOperations(rel)...)
	}
	for _, rel := range inverses() {
		list = append(list, listOperation(rel))
	}
	list = append(list, credentialOperations()...)
	list = append(list, proxyTokenOperations()...)
	list = append(list, revocationOperations()...)
	return append(list, stateOperations()...)
}

// paged are the parameters of a list.
var paged = []string{"prefix", "after", "amount"}

func entityOperations(kind model.Kind) []operation {
	name, all := string(kind), "/"+kind.Collection()
	one := all + "/{name}"
	written := func() map[int]object {
		a := jsonAnswer("Committed", "it was replaced, or is as it was", "ETag")
		a[http.StatusCreated] = answer("it was created", "application/json", schemaRef("Committed"), "ETag", "Location")
		return a
	}
	write := func(method, summary string, answers map[int]object) operation {
		op := guardedOperation(method, one, "entities", summary, answers, http.StatusPreconditionFailed)
		return op.with("force", "ifMatch", "ifNoneMatch").changing()
	}
	created := written()
	delete(created, http.StatusOK)
	list := guardedOperation(http.MethodGet, all, "entities", "List "+kind.Collection(), jsonAnswer(name+"Page", "a page, in the order of names")).with(paged...).with("ofSet")
	if kind == model.KindUser {
		list = list.with(userFields()...)
	}
	return []operation{
		list,
		guardedOperation(http.MethodGet, one, "entities", "Get a "+name, jsonAnswer(name, "the document", "ETag")),
		write(http.MethodPut, "Create or replace a "+name, written()).taking(documentBody(name)),
		write(http.MethodPost, "Create a "+name, created).taking(documentBody(name)),
		write(http.MethodDelete, "Delete a "+name+" with all that refers to it", jsonAnswer("Committed", "it was deleted")),
	}
}

func listOperation(rel relation) operation {
	path := "/" + rel.owner.Collection() + "/{name}/" + rel.segment
	op := guardedOperation(http.MethodGet, path, "relations", "List the "+rel.segment+" of a "+string(rel.owner),
		jsonAnswer("ReferencePage", "a page, in the order of names")).with(paged...)
	if rel.target == model.KindPolicy {
		op = op.with("effective")
	}
	return op
}

func relationOperations(rel relation) []operation {
	path := "/" + rel.owner.Collection() + "/{name}/" + rel.segment + "/{other}"
	what := string(rel.target) + " among the " + rel.segment + " of a " + string(rel.owner)
	write := func(method, summary string) operation {
		return guardedOperation(method, path, "relations", summary, jsonAnswer("Committed", "it is so; the ETag is that of the "+string(rel.owner), "ETag"),
			http.StatusPreconditionFailed).with("force", "ifMatch", "ifNoneMatch").changing()
	}
	return []operation{
		listOperation(rel),
		guardedOperation(http.MethodGet, path, "relations", "Say whether there is a "+what, jsonAnswer("Reference", "there is; the ETag is that of the "+string(rel.owner), "ETag")),
		write(http.MethodPut, "Have a "+what),
		write(http.MethodDelete, "Have no "+what),
	}
}

func credentialOperations() []operation {
	get := func(path string) operation {
		return guardedOperation(http.MethodGet, path, "credentials", "Get an access key", jsonAnswer("Credentials", "it, without its secret"))
	}
	list := []operation{get("/credentials/{name}")}
	for _, kind := range []model.Kind{model.KindUser, model.KindServiceAccount} {
		all := "/" + kind.Collection() + "/{name}/credentials"
		created := map[int]object{http.StatusCreated: answer("it, with its secret, this once", "application/json", schemaRef("Credentials"))}
		list = append(list,
			guardedOperation(http.MethodGet, all, "credentials", "List the access keys of a "+string(kind),
				jsonAnswer("CredentialsPage", "a page, in the order of ids")).with(paged...),
			guardedOperation(http.MethodPost, all, "credentials", "Make an access key for a "+string(kind), created).changing(),
			get(all+"/{other}"),
			guardedOperation(http.MethodDelete, all+"/{other}", "credentials", "Withdraw an access key of a "+string(kind),
				jsonAnswer("Committed", "it counts no more")).changing(),
		)
	}
	return list
}

func revocationOperations() []operation {
	committed := jsonAnswer("Committed", "it is so")
	return []operation{
		guardedOperation(http.MethodGet, "/revocations", "revocations", "List revoked tokens",
			jsonAnswer("RevocationPage", "a page, in the order of <issuer>/<jti>")).with(paged...),
		guardedOperation(http.MethodPost, "/revocations", "revocations", "Have proxies refuse a token until it expires",
			committed, http.StatusNotFound).taking(jsonBody("Revocation")).changing(),
		guardedOperation(http.MethodDelete, "/revocations/{name}/{other}", "revocations",
			"Let a token count again: the Issuer's name and the token's jti", committed).changing(),
	}
}

func stateOperations() []operation {
	documents := documentBody("Document")
	documents["multipart/form-data"] = object{"schema": object{
		"type": "object", "additionalProperties": object{"type": "string", "contentMediaType": "application/yaml"},
	}}
	return []operation{
		guardedOperation(http.MethodGet, "/generation", "state", "Say what is published", jsonAnswer("Generation", "the generation")),
		guardedOperation(http.MethodGet, "/export", "state", "Get the whole state as documents, as of one generation", jsonAnswer("Export", "the state")),
		guardedOperation(http.MethodGet, "/audit", "state", "Get audit records", jsonAnswer("AuditRecordPage", "a page, the newest first")).
			with("kind", "name", "user", "since", "order", "after", "amount"),
		guardedOperation(http.MethodGet, "/backup", "state", "Get all that the store holds, for sallyport restore", map[int]object{
			http.StatusOK: answer("the backup", BackupType, object{}),
		}),
		guardedOperation(http.MethodPost, "/apply", "state", "Make the state what documents say, all or nothing",
			jsonAnswer("Applied", "what became of each")).with("dryRun", "set", "prune", "force").taking(documents).changing(),
		guardedOperation(http.MethodPost, "/rollback", "state", "Make the documents what they were at a generation, as a new one",
			jsonAnswer("RolledBack", "what became of each")).taking(jsonBody("Rollback")).changing(),
		guardedOperation(http.MethodPost, "/check", "decisions", "Decide a request by what is published",
			jsonAnswer("Decision", "the decision")).taking(jsonBody("Query")),
		guardedOperation(http.MethodPost, "/access", "decisions", "Say what somebody may do",
			jsonAnswer("AccessAnswer", "a page of it")).taking(jsonBody("AccessQuery")),
		guardedOperation(http.MethodPost, "/who-can", "decisions", "Say who may make a request",
			jsonAnswer("WhoAnswer", "a page of these")).taking(jsonBody("WhoQuery")),
		guardedOperation(http.MethodPost, "/test", "decisions", "Run tests of policies on what is committed, or on documents",
			jsonAnswer("TestReport", "what they found")).taking(documents).changing(),
		guardedOperation(http.MethodGet, "/proxies", "proxies", "Say what proxies enforce", jsonAnswer("ProxyPage", "a page, in the order of instances")).
			with(append(slices.Clone(paged), "generation", "lagging")...),
		guardedOperation(http.MethodPost, "/issuers/{name}/refresh", "host", "Fetch an issuer's keys now",
			jsonAnswer("KeyStatus", "how that went")),
	}
}

// openOperation is an operation that needs no credentials.
func openOperation(route, summary string, answers map[int]object, errs ...int) operation {
	errs = append(errs, http.StatusBadRequest)
	return operation{route: route, tag: "host", summary: summary, open: true, answers: answers, errors: errs}
}

// proxyOperation is an operation for proxies.
func proxyOperation(route, summary string, answers map[int]object, errs ...int) operation {
	op := openOperation(route, summary, answers, append(errs, http.StatusUnauthorized, http.StatusTooManyRequests, http.StatusServiceUnavailable)...)
	op.tag, op.open, op.proxy = "proxies", false, true
	return op
}

func snapshotAnswers() map[int]object {
	whole := answer("a whole snapshot", pushapi.SnapshotType, object{}, "ETag")
	difference := answer("what makes it of what the proxy has (RFC 3229)", pushapi.DeltaType, object{}, "ETag", "IM")
	difference["headers"].(object)["Delta-Base"] = headerRef("DeltaBase")
	for _, a := range []object{whole, difference} {
		a["headers"].(object)["Content-Encoding"] = headerRef("ContentEncoding")
	}
	return map[int]object{
		http.StatusOK: whole, http.StatusIMUsed: difference, http.StatusNotModified: {"description": "nothing newer came in time"},
	}
}

func proxyTokenOperations() []operation {
	const tag = "proxies"
	created := map[int]object{http.StatusCreated: answer("it, with its text, this once", "application/json", schemaRef("ProxyToken"))}
	return []operation{
		guardedOperation(http.MethodGet, "/proxy-tokens", tag, "List the tokens by which proxies prove who they are",
			jsonAnswer("ProxyTokenPage", "a page, in the order of ids")).with(paged...),
		guardedOperation(http.MethodPost, "/proxy-tokens", tag, "Make a token for a proxy or a fleet", created).
			taking(jsonBody("NewProxyToken")).changing(),
		guardedOperation(http.MethodDelete, "/proxy-tokens/{name}", tag, "Revoke a token by its id",
			jsonAnswer("Committed", "it counts no more")).changing(),
	}
}

func hostOperations() []operation {
	text := func(what, mediaType string) map[int]object {
		return map[int]object{http.StatusOK: answer(what, mediaType, object{"type": "string"})}
	}
	module := map[int]object{
		http.StatusOK:                           answer("the filter", "application/wasm", object{}, "ETag"),
		http.StatusPartialContent:               answer("a range of it", "application/wasm", object{}, "ETag"),
		http.StatusNotModified:                  {"description": "as If-None-Match says", "headers": object{"ETag": headerRef("ETag")}},
		http.StatusRequestedRangeNotSatisfiable: answer("no such range", "text/plain", object{"type": "string"}),
	}
	module[http.StatusOK]["headers"].(object)["X-Checksum-Sha256"] = headerRef("Checksum")
	return []operation{
		openOperation("GET /healthz", "Say that the host runs", text("it does", "text/plain")),
		openOperation("GET /readyz", "Say whether there is a policy to push", text("there is", "text/plain"), http.StatusServiceUnavailable),
		openOperation("GET /metrics", "Prometheus metrics", text("the metrics", "text/plain"), http.StatusUnauthorized, http.StatusForbidden,
			http.StatusTooManyRequests, http.StatusServiceUnavailable),
		proxyOperation("GET "+ModulePath, "The filter, for proxies", module),
		proxyOperation("GET "+pushapi.SnapshotPath, "What comes after a version, as soon as it is there", snapshotAnswers()).
			with("afterVersion", "refused", "wait", "ifNoneMatchTag", "aIM"),
		proxyOperation("POST "+pushapi.ReportPath, "Say what a worker of a proxy enforces",
			map[int]object{http.StatusNoContent: {"description": "noted"}}, http.StatusForbidden).taking(jsonBody("Report")),
		openOperation("GET "+OpenAPIPath, "This document", text("this", "application/yaml")),
		openOperation("GET "+SchemaPath, "JSON Schema of documents", map[int]object{
			http.StatusOK: answer("the schema", "application/schema+json", object{"type": "object"}),
		}),
		proxyOperation("POST "+pushapi.KeysPath, "Have the host fetch a key that a proxy's snapshot does not have",
			jsonAnswer("KeyAnswer", "a snapshot has it"), http.StatusNotFound).
			taking(jsonBody("KeyRequest")),
	}
}
