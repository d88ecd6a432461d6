package engine

import "slices"

// pageRules are what Access says of pages. They are replaced whole.
type pageRules struct {
	origins []string
	any     bool  // pages from everywhere are let in
	cors    *CORS // nil without
}

// pageRules are those of a, which has been checked.
func (a Access) pageRules() *pageRules {
	return &pageRules{origins: a.Origins, any: a.AnyOrigin || a.CORS.opensToAll(), cors: a.CORS}
}

// check finds what Access cannot mean.
func (a Access) check() error {
	if err := checkOrigins(a.Origins); err != nil {
		return err
	}
	return a.CORS.check()
}

// clone copies what the caller could change after it was checked.
func (a Access) clone() Access {
	a.Origins = slices.Clone(a.Origins)
	if a.CORS != nil {
		c := *a.CORS
		c.Origins, c.Patterns = slices.Clone(c.Origins), slices.Clone(c.Patterns)
		c.Methods, c.Headers, c.ExposedHeaders = slices.Clone(c.Methods), slices.Clone(c.Headers), slices.Clone(c.ExposedHeaders)
		a.CORS = &c
	}
	return a
}

// SetAccess replaces Origins, AnyOrigin and CORS of Options.Access while the server
// runs; Bind stays what New was given. Requests that come from now on are held against
// the new rules, also polls and posts of sessions that are open. A session on WebSocket
// makes no more requests and continues. The error wraps ErrOptions; then nothing has
// changed.
func (s *Server) SetAccess(a Access) error {
	a = a.clone()
	if err := a.check(); err != nil {
		return err
	}
	s.pages.Store(a.pageRules())
	return nil
}

// cors is what CORS says at the moment. A request may see the rules change under it;
// what it was allowed by those before, it is.
func (s *Server) cors() *CORS { return s.pages.Load().cors }
