package embedded

import (
	"context"
	"log/slog"
	"net"
	"slices"
	"strings"
	"time"
)

const (
	look      = time.Second     // between two looks whether the configured address is free
	lookNames = 5 * time.Second // between two looks what names resolve to
	lookUp    = 2 * time.Second // for one such look
)

// watch is a goroutine: it goes back to the configured address for routes when that is
// free, and follows the addresses of names.
func (e *embedded) watch() {
	ticker := time.NewTicker(look)
	defer ticker.Stop()
	for n := time.Duration(1); ; n++ {
		select {
		case <-e.quit:
			return
		case <-ticker.C:
		}
		switch {
		case e.moved && listens(e.host, e.port) == nil:
			e.restart()
		case !e.runs():
			e.again()
		}
		if n%(lookNames/look) == 0 {
			e.rename()
		}
	}
}

// restart starts a server on the configured address, after the end of the one that was
// on another.
func (e *embedded) restart() {
	e.shut()
	err := e.start(false)
	if err == nil {
		e.log.Info("NATS routes are back on the configured address", "address", e.config.Listen)
		return
	}
	e.log.Warn("NATS could not use the configured address for routes, so it is back on another", "error", err)
	e.again()
}

// again starts a server beside the configured address, where none could be started on it.
func (e *embedded) again() {
	if err := e.start(true); err != nil {
		e.log.Error("NATS could not start again; it is tried once a second", "error", err)
	}
	e.moved = true
}

// runs reports whether there is a server.
func (e *embedded) runs() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.server != nil
}

// rename tells the server when names have other addresses than before.
func (e *embedded) rename() {
	names := resolve(e.config.Routes, e.log)
	e.mu.Lock()
	s := e.server
	e.mu.Unlock()
	if s == nil || slices.Equal(names, e.names) {
		return
	}
	e.names = names
	o := e.options.Clone()
	o.Routes = e.routes(e.moved)
	if err := s.ReloadOptions(o); err != nil {
		e.log.Warn("NATS did not take new addresses of routes", "error", err)
	}
}

// resolve replaces dns:name:port by all addresses of the name, sorted. A name without an
// address stays out: the first node of a cluster starts before its name has one.
func resolve(list []string, log *slog.Logger) []string {
	var all []string
	for _, route := range list {
		address, named := strings.CutPrefix(route, "dns:")
		if !named {
			all = append(all, route)
			continue
		}
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			continue // Start has refused it
		}
		ctx, cancel := context.WithTimeout(context.Background(), lookUp)
		addresses, err := net.DefaultResolver.LookupHost(ctx, host)
		cancel()
		if err != nil {
			log.Debug("name of NATS routes has no address", "name", host, "error", err)
		}
		for _, a := range addresses {
			all = append(all, net.JoinHostPort(a, port))
		}
	}
	slices.Sort(all)
	return slices.Compact(all)
}
