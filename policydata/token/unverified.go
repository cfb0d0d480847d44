package token

// UnverifiedPayload returns the payload of a token of which nothing but the
// structure was checked: to show a token or to name it, never to decide by it.
func UnverifiedPayload(raw string) (payload string, ok bool) {
	t, ok := parseCompact(raw)
	if !ok {
		return "", false
	}
	if _, ok := parseObject(t.payload); !ok {
		return "", false
	}
	return t.payload, true
}
