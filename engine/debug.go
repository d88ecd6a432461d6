package engine

import (
	"bytes"
	"log/slog"

	"turbine/httpparse"
)

// debugLoggers holds a logger for each of the reference server's debug scopes, nil
// where it is switched off: then a record costs one comparison.
type debugLoggers struct {
	engine    *slog.Logger // handshakes and refusals
	socket    *slog.Logger // sessions: packets, heartbeats, ends
	transport *slog.Logger // changes of transport
	polling   *slog.Logger // polls and posts
	ws        *slog.Logger // WebSocket messages
}

func newDebug(scope func(string) *slog.Logger) (d debugLoggers) {
	if scope == nil {
		return d
	}
	return debugLoggers{
		engine:    scope("engine"),
		socket:    scope("engine:socket"),
		transport: scope("engine:transport"),
		polling:   scope("engine:polling"),
		ws:        scope("engine:ws"),
	}
}

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
