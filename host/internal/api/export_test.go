package api

// Routes returns the routes that New serves, such as "GET /healthz".
func Routes(o Options) []string {
	_, routes := newHandler(o)
	return routes
}
