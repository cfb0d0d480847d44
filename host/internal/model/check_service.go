package model

// service checks a ServiceAccount of the documents.
func (c *checker) service(s *ServiceAccount) {
	c.roleRef("spec.role", s.Role, false)
	seen := map[Identity]bool{}
	for i, id := range s.Identities {
		field := index("spec.identities", i)
		c.identity(field, id)
		if seen[id] {
			c.addf(field, "is listed twice")
		}
		seen[id] = true
	}
	for i, d := range s.Delegation {
		c.delegation(index("spec.delegation", i), d)
	}
}

func (c *checker) roleRef(field, name string, governing bool) {
	if !c.ref(field, KindRole, name) {
		return
	}
	e, _ := c.state.Get(Key{KindRole, name})
	switch is := e.(*Role).Governing; {
	case governing && !is:
		c.addf(field, "Role %q is not governing, and only a governing role can be delegated", name)
	case !governing && is:
		c.addf(field, "Role %q is governing, and a service's own role must not be", name)
	}
}

func (c *checker) identity(field string, id Identity) {
	c.required(field+".client", id.Client)
	c.text(field+".subject", id.Subject)
	if !c.ref(field+".issuer", KindIssuer, id.Issuer) {
		return
	}
	// Such an identity would never match, and the service's tokens would pass
	// as tokens that need no Service Gate.
	e, _ := c.state.Get(Key{KindIssuer, id.Issuer})
	if len(e.(*Issuer).Claims.Client) == 0 {
		c.addf(field+".issuer", "Issuer %q has no claims.client, so its tokens can't name a client", id.Issuer)
	}
}

func (c *checker) delegation(field string, d Delegation) {
	c.roleRef(field+".role", d.Role, true)
	if len(d.Users)+len(d.Groups) == 0 {
		c.addf(field, `expected users or groups; users: ["*"] is every user`)
	}
	c.distinct(field+".users", d.Users)
	for i, u := range d.Users {
		if u != AllUsers {
			c.ref(index(field+".users", i), KindUser, u)
		}
	}
	c.refs(field+".groups", KindGroup, d.Groups)
}

// services checks what holds between all services and the rest of the state:
// a Role or an Issuer may have changed under a service that did not.
func (c *checker) services() {
	clients := map[Identity]string{}
	for _, s := range c.state.Services {
		k := KeyOf(s)
		if _, ok := c.docs[k]; !ok {
			c.storedService(s)
		}
		for i, id := range s.Identities {
			id.Subject = ""
			other, taken := clients[id]
			clients[id] = s.Name
			if taken && other != s.Name {
				c.blame(k)
				c.addf(index("spec.identities", i), "client %q of Issuer %q is an identity of ServiceAccount %q", id.Client, id.Issuer, other)
			}
		}
	}
}

// storedService checks the references of a service that is not among the
// documents. The document that breaks one is blamed, if there is such a one.
func (c *checker) storedService(s *ServiceAccount) {
	c.storedRole(s, "spec.role", s.Role, false)
	for i, d := range s.Delegation {
		c.storedRole(s, index("spec.delegation", i)+".role", d.Role, true)
	}
	for i, id := range s.Identities {
		e, ok := c.state.Get(Key{KindIssuer, id.Issuer})
		field := index("spec.identities", i) + ".issuer"
		if !ok {
			c.blame(KeyOf(s))
			c.addf(field, "needs Issuer %q", id.Issuer)
			continue
		}
		if len(e.(*Issuer).Claims.Client) == 0 {
			c.blameDoc(KeyOf(e), KeyOf(s))
			c.addf(c.fieldAt("spec.claims.client", KeyOf(e), field), "ServiceAccount %q has an identity of this issuer, so its tokens must name a client", s.Name)
		}
	}
}

func (c *checker) storedRole(s *ServiceAccount, field, role string, governing bool) {
	e, ok := c.state.Get(Key{KindRole, role})
	if !ok {
		c.blame(KeyOf(s))
		c.addf(field, "needs Role %q", role)
		return
	}
	if e.(*Role).Governing == governing {
		return
	}
	text := "must not be governing: it is the role of ServiceAccount"
	if governing {
		text = "must be governing: it is delegated to ServiceAccount"
	}
	c.blameDoc(KeyOf(e), KeyOf(s))
	c.addf(c.fieldAt("spec.governing", KeyOf(e), field), "Role %q %s %q", role, text, s.Name)
}

// blameDoc blames k if it is among the documents, and otherwise other.
func (c *checker) blameDoc(k, other Key) {
	if _, ok := c.docs[k]; !ok {
		k = other
	}
	c.blame(k)
}

// fieldAt returns field if k is blamed, and otherwise other.
func (c *checker) fieldAt(field string, k Key, other string) string {
	if c.at == k {
		return field
	}
	return other
}
