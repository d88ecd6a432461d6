package engine

import (
	"log/slog"
	"net/netip"
	"slices"
	"testing"

	"turbine/httpparse"

	"github.com/stretchr/testify/require"
)

// A session takes no request that is not bound to it as its handshake was, on
// any loop: the request gets 403, and the session continues. The refusal is
// told once, and counted.
func TestBind(t *testing.T) {
	const mine, theirs = ` "header=Authorization: Bearer mine"`, ` "header=Authorization: Bearer theirs"`
	everywhere(t, func(t *testing.T, loops int) {
		var heard []string
		log := new(warnings)
		b := newSpec(t, loops, Options{Access: Access{Bind: BindHeader("Authorization")}, Logger: slog.New(log)}, hearRefusals(&heard))
		b.echo = true
		b.play(hsPolling + mine)
		const refused = `403 {"code":4,"message":"Forbidden"}`
		for _, wrong := range []string{theirs, "", ` "header=Authorization: bearer mine"`, ` "header=Authorization:"`} {
			require.Equal(t, []string{refused}, b.play("get sid=A"+wrong))
			require.Contains(t, b.play("post sid=A 4x"+wrong), refused)
			require.Equal(t, []string{"w: 403 Forbidden", "w: closed"}, b.play("ws sid=A conn=w"+wrong))
			b.clients = nil
		}
		lines := log.take()
		require.Len(t, lines, 1, "once a second")
		require.Regexp(t, `^WARN request refused that comes from elsewhere than its session peer=\S+ help=Access.Bind suppressed=0$`, lines[0])
		require.Len(t, heard, 12)
		for _, h := range heard {
			require.Equal(t, "4 BINDING_MISMATCH ", h, "and not what was said")
		}
		require.EqualValues(t, 12, b.server.Stats().Forbidden)
		require.Equal(t, "open A", b.events())

		// A stranger's poll does not disturb the one that waits.
		require.Empty(t, b.play("get sid=A conn=p"+mine))
		require.Equal(t, []string{refused}, b.play("get sid=A"+theirs))
		require.Equal(t, []string{"200 ok", "p: 200 4hi"}, slices.Sorted(slices.Values(b.play("post sid=A 4hi"+mine))))
		b.play("ws sid=A conn=x"+mine, "frame x text 2probe", "frame x text 5")
		require.True(t, b.session("A").Upgraded())
		require.Equal(t, []string{refused}, b.play("get sid=A"+theirs), "whatever the transport is")
		b.finish()
	})
}

// A body that comes later, and one behind which more requests wait.
func TestBindRefusesBodies(t *testing.T) {
	everywhere(t, func(t *testing.T, loops int) {
		b := newSpec(t, loops, Options{Access: Access{Bind: BindHeader("X-User")}}, nil)
		b.play(hsPolling + ` "header=X-User: a"`)
		const head = `"POST /engine.io/?EIO=4&transport=polling&sid=A HTTP/1.1\r\nHost: x\r\nX-User: b\r\nContent-Length: 5\r\n\r\n`
		require.Equal(t, []string{`d: 403 {"code":4,"message":"Forbidden"}`, "d: closed"}, b.play("raw d "+head+`4h"`))
		require.Equal(t, `e: 403 {"code":4,"message":"Forbidden"}`, b.play("raw e " + head + `4hell` + head[1:] + `4hell"`)[0])
		require.Equal(t, "open A", b.events())
		b.finish()
	})
}

// The handshake decides also where the verdict comes later, and by WebSocket.
func TestBindLater(t *testing.T) {
	const mine = ` "header=X-User: a"`
	for _, command := range []string{hsPolling + " conn=w", hsWebSocket} {
		var verdict *Verdict
		b := newSpec(t, 1, Options{Access: Access{Bind: BindHeader("X-User")}}, func(_ *bench, e *Events) {
			e.Admit = func(a *Admission) error {
				verdict = a.Later()
				return nil
			}
		})
		b.play(command + mine)
		verdict.Accept()
		require.NotEmpty(t, b.collect())
		require.Equal(t, []string{`403 {"code":4,"message":"Forbidden"}`}, b.play("get sid=A"))
		if got := b.play("get sid=A" + mine); command == hsWebSocket {
			require.Equal(t, []string{`400 {"code":3,"message":"Bad request"}`}, got)
		} else {
			require.Empty(t, got, "it waits")
		}
		b.finish()
	}
}

// A panic refuses the request, at the handshake and later.
func TestBindPanics(t *testing.T) {
	everywhere(t, func(t *testing.T, loops int) {
		log, angry := new(counter), false
		b := newSpec(t, loops, Options{Logger: slog.New(log), Access: Access{Bind: func(*Request) string {
			if angry {
				panic("the application's fault")
			}
			return ""
		}}}, nil)
		b.play(hsPolling)
		angry = true
		const refused = `403 {"code":4,"message":"Forbidden"}`
		require.Equal(t, []string{refused}, b.play("get sid=A"))
		require.Equal(t, []string{refused}, b.play(hsPolling))
		require.Equal(t, []string{"w: 403 Forbidden", "w: closed"}, b.play("ws sid=A conn=w"))
		require.Equal(t, []string{"x: 400 Forbidden", "x: closed"}, b.play("ws EIO=4&transport=websocket conn=x"))
		require.NotZero(t, log.lines.Load())
		require.Equal(t, 1, b.server.Stats().Sessions)
		b.finish()
	})
}

func TestBinders(t *testing.T) {
	request := func(address, headers string) *Request {
		r := corsRequest(headers)
		return &Request{http: &httpparse.Request{Headers: r.Headers}, remote: netip.MustParseAddrPort(address)}
	}
	for _, c := range []struct {
		name, address, headers string
		bind                   func(*Request) string
		want                   string
	}{
		{"IPv4", "192.0.2.1:80", "", BindIP, "192.0.2.1"},
		{"IPv4, another port", "192.0.2.1:81", "", BindIP, "192.0.2.1"},
		{"IPv4 in IPv6", "[::ffff:192.0.2.1]:80", "", BindIP, "192.0.2.1"},
		{"IPv6", "[2001:db8:1:2:3:4:5:6]:80", "", BindIP, "2001:db8:1:2::/64"},
		{"IPv6, same network", "[2001:db8:1:2::1]:80", "", BindIP, "2001:db8:1:2::/64"},
		{"IPv6, another network", "[2001:db8:1:3::1]:80", "", BindIP, "2001:db8:1:3::/64"},
		{"IPv6 on the link", "[fe80::1]:80", "", BindIP, "fe80::1"},
		{"header", "[::1]:1", "X-User: a", BindHeader("x-user"), "a"},
		{"no header", "[::1]:1", "", BindHeader("x-user"), ""},
		{"cookie", "[::1]:1", "Cookie: a=1; session=x; b=2", BindCookie("session"), "x"},
		{"no cookies", "[::1]:1", "", BindCookie("session"), ""},
		{"another cookie", "[::1]:1", "Cookie: mysession=x", BindCookie("session"), ""},
	} {
		require.Equal(t, c.want, c.bind(request(c.address, c.headers)), c.name)
	}
}

// Without Bind no session has what few have.
func TestBindCostsNothingUnused(t *testing.T) {
	b := newSpec(t, 1, Options{}, nil)
	b.play(hsPolling, hsWebSocket)
	require.Nil(t, b.session("A").extra)
	require.Nil(t, b.session("B").extra)
	b.finish()
}
