package engine

import (
	"bytes"
	"log/slog"
	"sync"
	"sync/atomic"

	"turbine/httpparse"
)

// debugLoggers holds a logger for each of the reference server's debug scopes, nil
// where it is switched off: then a record costs a load and a comparison. They may change
// at any time. Safe from any goroutine.
type debugLoggers struct {
	engine    atomic.Pointer[slog.Logger] // handshakes and refusals
	socket    atomic.Pointer[slog.Logger] // sessions: packets, heartbeats, ends
	transport atomic.Pointer[slog.Logger] // changes of transport
	polling   atomic.Pointer[slog.Logger] // polls and posts
	ws        atomic.Pointer[slog.Logger] // WebSocket messages

	mu sync.Mutex // held while they change, so that two changes do not mix
}

// set asks for the logger of each scope.
func (d *debugLoggers) set(scope func(string) *slog.Logger) {
	all := []*atomic.Pointer[slog.Logger]{&d.engine, &d.socket, &d.transport, &d.polling, &d.ws}
	loggers := make([]*slog.Logger, len(all))
	if scope != nil {
		for i, name := range []string{"engine", "engine:socket", "engine:transport", "engine:polling", "engine:ws"} {
			loggers[i] = scope(name)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for i, logger := range all {
		logger.Store(loggers[i])
	}
}

// SetDebug replaces what Options.Debug has said: scope is called once for each scope,
// before SetDebug returns. Nil switches all off. What happens from then on is logged
// accordingly, in sessions that there are as in new ones.
func (s *Server) SetDebug(scope func(string) *slog.Logger) { s.debug.set(scope) }

// hidden stands in a record for what the record must not show.
const hidden = "-"

// loggedTarget is a request's target as a record shows it. Of the query it has the names
// of parameters, and the values of those that are the protocol's own, except sid: whoever
// reads that one can poll. Other values are the application's, and may be a login.
func loggedTarget(target []byte) string {
	path, query, _ := bytes.Cut(target, []byte{'?'})
	text := bytes.Clone(path)
	for separator := byte('?'); len(query) > 0; separator = '&' {
		var key, value []byte
		key, value, query = httpparse.NextParam(query)
		if key == nil {
			break
		}
		text = append(text, separator)
		switch string(key) {
		case "EIO", "transport", "b64", "j", "t":
			text = append(append(append(text, key...), '='), value...)
		default:
			if value != nil { // a word alone may be a value
				text = append(append(text, key...), '=')
			}
			text = append(text, hidden...)
		}
	}
	return logged(string(text))
}
