package engine

import "log/slog"

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
