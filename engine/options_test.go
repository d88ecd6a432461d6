package engine

import (
	"cmp"
	"crypto/tls"
	"iter"
	"log/slog"
	"net/http"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"turbine/internal/peers"

	"github.com/stretchr/testify/require"
)

// TestOptions has a row for every field: its default, a value that is kept, and
// values that New refuses. What is given is what the server works with: T003.
func TestOptions(t *testing.T) {
	logger := slog.New(slog.DiscardHandler)
	durations := []any{time.Millisecond - 1, -time.Second}
	certified := &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return nil, nil }}
	rows := map[string]struct {
		zero any
		kept []any
		bad  []any
	}{
		"Path":                {"/engine.io/", []any{"/live", "/live/", "/"}, []any{"live", " /live", "http://x/"}},
		"PingInterval":        {25 * time.Second, []any{time.Millisecond, time.Hour}, durations},
		"PingTimeout":         {20 * time.Second, []any{time.Millisecond, time.Hour}, durations},
		"Timeouts.Upgrade":    {10 * time.Second, []any{time.Millisecond, time.Hour}, durations},
		"MaxPayload":          {1_000_000, []any{1, 1 << 30}, []any{-1, 1<<30 + 1}},
		"Limits.MaxFragments": {16_384, []any{1, 1 << 20}, []any{-1}},
		"Queue.MaxBytes":      {8 << 20, []any{1, 1 << 30}, []any{-1}},
		"Queue.MaxPackets":    {16_384, []any{1, 1 << 30}, []any{-1}},
		"Queue.Budget":        {int64(1 << 30), []any{int64(1), int64(1 << 40)}, []any{int64(-1)}},
		"Queue.Overflow":      {OverflowClose, []any{OverflowDrop}, []any{Overflow(3)}},
		"Queue.HighWater":     {2 << 20, []any{1, 8 << 20}, []any{-1, 8<<20 + 1}},
		"Queue.LowWater":      {512 << 10, []any{1, 1000}, []any{-1, 2 << 20}},
		"Transports": {[]Transport{Polling, WebSocket}, []any{[]Transport{WebSocket}, []Transport{WebSocket, Polling}},
			[]any{[]Transport{0}, []Transport{Polling, 3}}},
		"NoUpgrades": {false, []any{true}, nil},
		"Revisions": {[]Revision{Revision4, Revision3}, []any{[]Revision{Revision3}, []Revision{Revision4}},
			[]any{[]Revision{0}, []Revision{Revision4, 5}, []Revision{2}}},
		"NoTrailingSlash":         {false, []any{true}, nil},
		"Timeouts.ForeignUpgrade": {time.Second, []any{time.Millisecond, time.Hour, -time.Nanosecond, -time.Hour}, []any{time.Millisecond - 1}},
		"Access.Origins": {[]string(nil), []any{[]string{"https://example.com", "http://[::1]:3000", "null"}},
			[]any{[]string{"*"}, []string{"https://a", "example.com"}, []string{"https://a/"}, []string{"https://A"}, []string{""}}},
		"Node":                 {(*Node)(nil), []any{&Node{ID: 1}, &Node{ID: 1<<32 - 1}}, []any{&Node{}}},
		"Access.AnyOrigin":     {false, []any{true}, nil},
		"Access.Bind":          {(func(*Request) string)(nil), nil, nil},
		"Access.CORS":          {(*CORS)(nil), []any{&CORS{Origins: []string{"*"}}}, []any{&CORS{Origins: []string{"*"}, Credentials: true}}},
		"Cookie":               {(*Cookie)(nil), []any{&Cookie{}, &Cookie{Name: "sid"}}, []any{&Cookie{Name: "a b"}}},
		"InitialPacket":        {(*Message)(nil), []any{&Message{Data: []byte("hi")}}, nil},
		"CompressionThreshold": {1024, []any{1, 1 << 20, -1, -1 << 20}, nil},
		"PerMessageDeflate": {(*PerMessageDeflate)(nil), []any{&PerMessageDeflate{}, &PerMessageDeflate{ContextTakeover: true}},
			[]any{&PerMessageDeflate{Threshold: -1}}},
		"GenerateID":          {(func(*Request) (string, error))(nil), nil, nil},
		"Timeouts.Admit":      {10 * time.Second, []any{time.Millisecond, time.Hour}, durations},
		"Limits.MaxAdmitting": {10_000, []any{1, 1 << 20}, []any{-1}},
		"Debug":               {(func(string) *slog.Logger)(nil), nil, nil},
		"Middleware":          {([]func(http.Handler) http.Handler)(nil), nil, []any{[]func(http.Handler) http.Handler{nil}}},
		"Timeouts.Header":     {10 * time.Second, []any{time.Millisecond, time.Hour}, durations},
		"Timeouts.Body":       {30 * time.Second, []any{time.Millisecond, time.Hour}, durations},
		"Timeouts.Idle":       {75 * time.Second, []any{time.Millisecond, time.Hour}, durations},
		"Timeouts.Close":      {30 * time.Second, []any{time.Millisecond, time.Hour}, durations},
		"Drain.Delay":         {time.Duration(0), []any{time.Nanosecond, time.Hour}, []any{-time.Second}},
		"Drain.Period":        {time.Duration(0), []any{time.Nanosecond, time.Hour}, []any{-time.Second}},
		"HealthPath":          {"", []any{"/healthz", "/a/b"}, []any{"healthz", "/healthz/", "/", "/engine.io/healthz"}},
		"Loops":               {0, []any{1, 256}, []any{-1, 257}},
		"Limits.MaxConns":     {0, []any{1, 1 << 30}, []any{-1}},

		"Limits.MaxPayloadPackets": {16_384, []any{1, 1 << 20}, []any{-1}},
		"Limits.BodyBudget":        {int64(256 << 20), []any{int64(1), int64(1 << 40)}, []any{int64(-1)}},
		"Limits.MaxRequestLine":    {8_192, []any{1, 1 << 20}, []any{-1}},
		"Limits.MaxHeaderBytes":    {16_384, []any{1, 1 << 20}, []any{-1, 1<<20 + 1}},
		"Limits.MaxHeaders":        {100, []any{1, 1 << 20}, []any{-1}},
		"Limits.MaxPipelined":      {64 << 10, []any{1, 1 << 20}, []any{-1}},
		"Limits.MaxConnsPerIP":     {4096, []any{1, 1 << 30, -1, -1 << 30}, nil},
		"Limits.ConnRate":          {200, []any{1, 1 << 30, -1, -1 << 30}, nil},
		"Limits.HandshakeRate":     {100, []any{1, 1 << 30, -1, -1 << 30}, nil},
		"Limits.MaxSessions":       {0, []any{1, 1 << 30}, []any{-1}},
		"Limits.MaxSessionsPerIP":  {8192, []any{1, 1 << 30, -1, -1 << 30}, nil},
		"Limits.MaxPolls":          {100_000, []any{1, 1 << 30}, []any{-1}},
		"Limits.MaxUpgrades":       {10_000, []any{1, 1 << 30}, []any{-1}},
		"Limits.Exempt": {[]netip.Prefix(peers.Shared()), []any{[]netip.Prefix{}, []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}},
			[]any{[]netip.Prefix{{}}, []netip.Prefix{netip.MustParsePrefix("::ffff:10.0.0.0/104")}}},
		"Proxies.Trusted": {[]netip.Prefix(nil), []any{[]netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")}},
			[]any{[]netip.Prefix{{}}, []netip.Prefix{netip.MustParsePrefix("::ffff:10.0.0.0/104")}}},
		"Proxies.TrustUnixSockets": {false, []any{true}, nil},
		"Proxies.ClientHeader":     {"", []any{"X-Forwarded-For", "Forwarded", "X-Real-IP"}, []any{"Via", "forwarded"}},
		"Executor":                 {nil, []any{NewExecutor(1)}, nil},
		"Limits.MaxPending":        {256 << 10, []any{1, 1 << 30}, []any{-1}},
		"Limits.PendingBudget":     {int64(256 << 20), []any{int64(1), int64(1 << 40)}, []any{int64(-1)}},
		"Timeouts.SlowCallback": {20 * time.Millisecond, []any{time.Millisecond, time.Hour, -time.Nanosecond, -time.Hour},
			[]any{time.Millisecond - 1}},
		"Timeouts.FirstRequest": {30 * time.Second, []any{time.Millisecond, time.Hour}, durations},
		"TLS": {(*TLS)(nil), []any{&TLS{Config: certified}, &TLS{Config: certified, MinVersion: tls.VersionTLS13}},
			[]any{
				&TLS{}, &TLS{Config: &tls.Config{}}, &TLS{CertFile: "cert.pem"}, &TLS{KeyFile: "key.pem"},
				&TLS{CertFile: "no such file", KeyFile: "no such file"}, &TLS{Config: certified, ClientCAFile: "no such file"},
				&TLS{Config: certified, MinVersion: tls.VersionTLS11}, &TLS{Config: certified, MinVersion: tls.VersionTLS13 + 1},
				&TLS{Config: &tls.Config{GetCertificate: certified.GetCertificate, MinVersion: tls.VersionTLS10}},
				&TLS{Config: certified, ClientAuth: -1}, &TLS{Config: certified, ClientAuth: tls.RequireAndVerifyClientCert + 1},
				&TLS{Config: certified, ClientAuth: tls.VerifyClientCertIfGiven},
			}},
		"Limits.MaxTLSHandshakes": {4096, []any{1, 1 << 20}, []any{-1}},
		"Timeouts.TLSHandshake":   {10 * time.Second, []any{time.Millisecond, time.Hour}, durations},

		"Fallback":                  {http.Handler(nil), []any{http.NewServeMux()}, nil},
		"Limits.MaxFallback":        {1_000, []any{1, 1 << 20}, []any{-1}},
		"Limits.MaxFallbackWaiting": {1_000, []any{1, 1 << 20}, []any{-1}},

		"Logger": {slog.Default(), []any{logger}, nil},
	}
	for name, index := range optionFields() {
		row, ok := rows[name]
		require.True(t, ok, "no row for Options.%s", name)
		delete(rows, name)
		try := func(value any) (any, error) {
			var o Options
			if value != nil {
				reflect.ValueOf(&o).Elem().FieldByIndex(index).Set(reflect.ValueOf(value))
			}
			server, err := New(o, Events{})
			if err != nil {
				require.Nil(t, server)
				return nil, err
			}
			return reflect.ValueOf(server.options).FieldByIndex(index).Interface(), nil
		}
		got, err := try(nil)
		require.NoError(t, err)
		if reflect.TypeFor[Options]().FieldByIndex(index).Type.Kind() == reflect.Func {
			require.Nil(t, got, "default of %s", name)
		} else {
			require.Equal(t, row.zero, got, "default of %s", name)
		}
		for _, value := range row.kept {
			got, err := try(value)
			require.NoError(t, err, "%s %v", name, value)
			require.Equal(t, value, got, name)
		}
		said := map[string]string{"Transports": "transport", "Revisions": "revision", "Access.CORS": "CORS"}[name]
		for _, value := range row.bad {
			_, err := try(value)
			require.ErrorIs(t, err, ErrOptions, "%s %v", name, value)
			require.Equal(t, 1, strings.Count(err.Error(), ErrOptions.Error()), err)
			require.ErrorContains(t, err, cmp.Or(said, name))
		}
	}
	require.Empty(t, rows, "rows for fields that do not exist")
}

// optionFields are the fields of Options, those of its groups with the group's name
// before them.
func optionFields() iter.Seq2[string, []int] {
	groups := []reflect.Type{
		reflect.TypeFor[Access](), reflect.TypeFor[Proxies](), reflect.TypeFor[Queue](),
		reflect.TypeFor[Limits](), reflect.TypeFor[Timeouts](), reflect.TypeFor[Drain](),
	}
	return func(yield func(string, []int) bool) {
		kind := reflect.TypeFor[Options]()
		for i := range kind.NumField() {
			field := kind.Field(i)
			if !slices.Contains(groups, field.Type) {
				if !yield(field.Name, []int{i}) {
					return
				}
				continue
			}
			for j := range field.Type.NumField() {
				if !yield(field.Name+"."+field.Type.Field(j).Name, []int{i, j}) {
					return
				}
			}
		}
	}
}

// HealthPath, and HealthPath with "/live", must not be what Path takes.
func TestHealthPathBesidePath(t *testing.T) {
	for _, c := range []struct {
		path, health string
		noSlash      bool
		works        bool
	}{
		{"/engine.io", "/engine.io-health", false, true},
		{"/engine.io/", "/engine.io-health", true, false},
		{"/engine.io", "/engine.io-health", true, false},
		{"/engine.io/", "/engine.io", false, false},
		{"/a/live", "/a", true, false},
		{"/a/live", "/a", false, true},
		{"/a/l", "/a", true, false},
		{"/", "/health", false, false},
		{"/", "/health", true, false},
	} {
		o := Options{Path: c.path, HealthPath: c.health, NoTrailingSlash: c.noSlash}
		if !c.works {
			_, err := New(o, Events{})
			require.ErrorIs(t, err, ErrOptions, c)
			continue
		}
		b := newBench(t, 1, o)
		for _, target := range []string{c.health, c.health + "/live"} {
			b.request(b.client("check", ""), request{method: "GET", target: target})
			require.Equal(t, []string{`check: 200 ok\x0a`}, b.collect(), target)
		}
		b.finish()
	}
}

// An empty list is the default as nil is.
func TestOptionsEmptyLists(t *testing.T) {
	server, err := New(Options{Transports: []Transport{}, Revisions: []Revision{}}, Events{})
	require.NoError(t, err)
	require.Len(t, server.options.Transports, 2)
	require.Len(t, server.options.Revisions, 2)
}

func TestTick(t *testing.T) {
	for _, c := range []struct {
		change func(*Options)
		want   time.Duration
	}{
		{func(*Options) {}, 50 * time.Millisecond},
		{func(o *Options) { o.PingInterval = time.Second }, 50 * time.Millisecond},
		{func(o *Options) { o.PingTimeout = 300 * time.Millisecond }, 15 * time.Millisecond},
		{func(o *Options) { o.Timeouts.Upgrade = 400 * time.Millisecond }, 20 * time.Millisecond},
		{func(o *Options) { o.Timeouts.Header = 400 * time.Millisecond }, 20 * time.Millisecond},
		{func(o *Options) { o.Timeouts.Body = 400 * time.Millisecond }, 20 * time.Millisecond},
		{func(o *Options) { o.Timeouts.Idle = 400 * time.Millisecond }, 20 * time.Millisecond},
		{func(o *Options) { o.Timeouts.FirstRequest = 400 * time.Millisecond }, 20 * time.Millisecond},
		{func(o *Options) { o.Timeouts.TLSHandshake = 400 * time.Millisecond }, 20 * time.Millisecond},
		{func(o *Options) { o.Timeouts.Close = time.Millisecond }, 10 * time.Millisecond},
		{func(o *Options) { o.Timeouts.ForeignUpgrade = 60 * time.Millisecond }, 30 * time.Millisecond},
		{func(o *Options) { o.Timeouts.ForeignUpgrade = -1 }, 50 * time.Millisecond},
	} {
		var o Options
		c.change(&o)
		o, err := o.withDefaults()
		require.NoError(t, err)
		require.Equal(t, c.want, o.tick())
	}
}

func TestNames(t *testing.T) {
	for want, got := range map[string]string{
		"transport close":      ReasonTransportClose.String(),
		"transport error":      ReasonTransportError.String(),
		"ping timeout":         ReasonPingTimeout.String(),
		"parse error":          ReasonParseError.String(),
		"forced close":         ReasonForcedClose.String(),
		"queue overflow":       ReasonOverflow.String(),
		"server shutting down": ReasonShutdown.String(),
		"polling":              Polling.String(),
		"websocket":            WebSocket.String(),
	} {
		require.Equal(t, want, got)
	}
	require.Equal(t, "unknown", Reason(0).String())
	require.Equal(t, "unknown", Transport(0).String())
}
