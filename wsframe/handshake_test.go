package wsframe

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// good is the handshake of RFC 6455, 1.2, without extras.
func good() Handshake {
	return Handshake{
		Method:  []byte("GET"),
		Key:     []byte("dGhlIHNhbXBsZSBub25jZQ=="),
		Version: []byte("13"),
	}
}

func TestHandshakeCheck(t *testing.T) {
	many := func(n int) (p []byte) {
		for i := range n {
			p = fmt.Appendf(p, ",p%d", i)
		}
		return p[1:]
	}
	type set = func(h *Handshake)
	for _, c := range []struct {
		name string
		set  set
		want error
	}{
		{"good", func(h *Handshake) {}, nil},
		{"POST", func(h *Handshake) { h.Method = []byte("POST") }, errMethod},
		{"methods have case", func(h *Handshake) { h.Method = []byte("get") }, errMethod},
		{"no method", func(h *Handshake) { h.Method = nil }, errMethod},
		{"the method comes first", func(h *Handshake) { *h = Handshake{Method: []byte("PUT")} }, errMethod},

		{"no key", func(h *Handshake) { h.Key = nil }, errKey},
		{"empty key", func(h *Handshake) { h.Key = []byte{} }, errKey},
		{"short key", func(h *Handshake) { h.Key = h.Key[1:] }, errKey},
		{"long key", func(h *Handshake) { h.Key = []byte("A" + string(h.Key)) }, errKey},
		{"no padding", func(h *Handshake) { h.Key = []byte("dGhlIHNhbXBsZSBub25jZQAA") }, errKey},
		{"half padding", func(h *Handshake) { h.Key = []byte("dGhlIHNhbXBsZSBub25jZQA=") }, errKey},
		{"not base64", func(h *Handshake) { h.Key = []byte("dGhlIHNhbXBsZSBub25j-Q==") }, errKey},
		{"padding inside", func(h *Handshake) { h.Key = []byte("dGhlIHNhbXBsZSBub25j=Q==") }, errKey},
		{"all digits", func(h *Handshake) { h.Key = []byte("+/09azAZ+/09azAZ+/09az==") }, nil},
		{"then the key", func(h *Handshake) { h.Key, h.Version = nil, nil }, errKey},

		{"version 8", func(h *Handshake) { h.Version = []byte("8") }, nil},
		{"no version", func(h *Handshake) { h.Version = nil }, errVersion},
		{"version 12", func(h *Handshake) { h.Version = []byte("12") }, errVersion},
		{"version 013", func(h *Handshake) { h.Version = []byte("013") }, errVersion},
		{"versions", func(h *Handshake) { h.Version = []byte("13, 8") }, errVersion},
		{"then the version", func(h *Handshake) { h.Version, h.Protocol = nil, []byte(",") }, errVersion},

		{"one protocol", func(h *Handshake) { h.Protocol = []byte("chat") }, nil},
		{"protocols", func(h *Handshake) { h.Protocol = []byte("chat,\tsuperchat , v1.x-y ") }, nil},
		{"case tells them apart", func(h *Handshake) { h.Protocol = []byte("chat, Chat") }, nil},
		{"empty protocol", func(h *Handshake) { h.Protocol = []byte{} }, errSubproto},
		{"space", func(h *Handshake) { h.Protocol = []byte("  ") }, errSubproto},
		{"two words", func(h *Handshake) { h.Protocol = []byte("a b") }, errSubproto},
		{"hole", func(h *Handshake) { h.Protocol = []byte("a,, ,b") }, nil},
		{"last is empty", func(h *Handshake) { h.Protocol = []byte("a, ") }, nil},
		{"first is empty", func(h *Handshake) { h.Protocol = []byte(", ,a") }, nil},
		{"twice around a hole", func(h *Handshake) { h.Protocol = []byte("a,,a") }, errSubproto},
		{"nothing but holes", func(h *Handshake) { h.Protocol = []byte(", ,") }, errSubproto},
		{"twice", func(h *Handshake) { h.Protocol = []byte("a,b , a") }, errSubproto},
		{"no token", func(h *Handshake) { h.Protocol = []byte("a,b/c") }, errSubproto},
		{"quoted", func(h *Handshake) { h.Protocol = []byte(`"a"`) }, errSubproto},
		{"line end", func(h *Handshake) { h.Protocol = []byte("a\r\nX: y") }, errSubproto},
		{"not ASCII", func(h *Handshake) { h.Protocol = []byte("ä") }, errSubproto},
		{"most protocols", func(h *Handshake) { h.Protocol = many(maxProtocols) }, nil},
		{"one too many", func(h *Handshake) { h.Protocol = many(maxProtocols + 1) }, errSubproto},
		{"then the protocols", func(h *Handshake) { h.Protocol, h.Extensions = []byte(","), []byte("=") }, errSubproto},

		{"extension", func(h *Handshake) { h.Extensions = []byte("permessage-deflate; client_max_window_bits") }, nil},
		{"value", func(h *Handshake) { h.Extensions = []byte("permessage-deflate;server_max_window_bits=10 ; x=y,\tfoo") }, nil},
		{"offers repeat", func(h *Handshake) { h.Extensions = []byte("a; x=1, a; x=1; x=2, a") }, nil},
		{"quoted value", func(h *Handshake) { h.Extensions = []byte(`a; x="10"; y="\a\!b", b`) }, nil},
		{"empty extensions", func(h *Handshake) { h.Extensions = []byte{} }, nil},
		{"nothing but holes in the extensions", func(h *Handshake) { h.Extensions = []byte(", \t,,") }, nil},
		{"extensions with holes", func(h *Handshake) { h.Extensions = []byte(",a; x ,\t, b=,") }, errExtensions},
		{"holes everywhere", func(h *Handshake) { h.Extensions = []byte(" , a; x ,\t,, b,") }, nil},
		{"hole behind a semicolon", func(h *Handshake) { h.Extensions = []byte("a; , b") }, errExtensions},
		{"no name", func(h *Handshake) { h.Extensions = []byte(";x") }, errExtensions},
		{"last one missing", func(h *Handshake) { h.Extensions = []byte("a,") }, nil},
		{"parameter missing", func(h *Handshake) { h.Extensions = []byte("a;") }, errExtensions},
		{"parameter hole", func(h *Handshake) { h.Extensions = []byte("a;;x") }, errExtensions},
		{"value missing", func(h *Handshake) { h.Extensions = []byte("a;x=") }, errExtensions},
		{"value of a name", func(h *Handshake) { h.Extensions = []byte("a=1") }, errExtensions},
		{"two names", func(h *Handshake) { h.Extensions = []byte("a b") }, errExtensions},
		{"two values", func(h *Handshake) { h.Extensions = []byte("a;x=1=2") }, errExtensions},
		{"quote open", func(h *Handshake) { h.Extensions = []byte(`a;x="1`) }, errExtensions},
		{"quote empty", func(h *Handshake) { h.Extensions = []byte(`a;x=""`) }, errExtensions},
		{"quoted comma", func(h *Handshake) { h.Extensions = []byte(`a;x="1,2"`) }, errExtensions},
		{"quoted quote", func(h *Handshake) { h.Extensions = []byte(`a;x="\""`) }, errExtensions},
		{"backslash at the end", func(h *Handshake) { h.Extensions = []byte(`a;x="\`) }, errExtensions},
		{"more behind the quote", func(h *Handshake) { h.Extensions = []byte(`a;x="1"2`) }, errExtensions},
	} {
		h := good()
		c.set(&h)
		require.Equal(t, c.want, h.Check(), c.name)
	}
}

// What a peer is told, word by word.
func TestHandshakeErrors(t *testing.T) {
	for _, c := range []struct {
		err  *HandshakeError
		want HandshakeError
	}{
		{errMethod, HandshakeError{405, "Invalid HTTP method", false}},
		{errKey, HandshakeError{400, "Missing or invalid Sec-WebSocket-Key header", false}},
		{errVersion, HandshakeError{400, "Missing or invalid Sec-WebSocket-Version header", true}},
		{errSubproto, HandshakeError{400, "Invalid Sec-WebSocket-Protocol header", false}},
		{errExtensions, HandshakeError{400, "Invalid or unacceptable Sec-WebSocket-Extensions header", false}},
	} {
		require.Equal(t, c.want, *c.err)
		require.EqualError(t, c.err, c.want.Text)
	}
}

// The example of RFC 6455, 1.3.
func TestAppendAcceptKey(t *testing.T) {
	got := AppendAcceptKey([]byte("x"), []byte("dGhlIHNhbXBsZSBub25jZQ=="))
	require.Equal(t, "xs3pPLMBiTxaQ9kYGzzhZRbK+xOo=", string(got))
	require.Len(t, AppendAcceptKey(nil, bytes.Repeat([]byte("k"), 1000)), 28, "a key that nobody checked")
}

func TestAppendResponse(t *testing.T) {
	h := good()
	const plain = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
	require.Nil(t, h.firstProtocol())
	require.Equal(t, plain, string(h.AppendResponse(nil)))
	h.Protocol = []byte(" chat, superchat")
	require.Equal(t, "chat", string(h.firstProtocol()))
	require.Equal(t, "before"+plain+"Sec-WebSocket-Protocol: chat\r\n", string(h.AppendResponse([]byte("before"))))
}

func TestHandshakeDoesNotAllocate(t *testing.T) {
	h := good()
	h.Protocol = []byte("chat, superchat")
	h.Extensions = []byte("permessage-deflate; client_max_window_bits")
	dst := make([]byte, 0, 512)
	noAllocs(t, "AppendAcceptKey", false, func() { AppendAcceptKey(dst, h.Key) })
	noAllocs(t, "Check", false, func() { h.Check() })
	noAllocs(t, "AppendResponse", false, func() { h.AppendResponse(dst) })
}

func FuzzHandshake(f *testing.F) {
	f.Add("GET", "dGhlIHNhbXBsZSBub25jZQ==", "13", "chat, superchat", "permessage-deflate; client_max_window_bits")
	f.Add("GET", "AAAAAAAAAAAAAAAAAAAAAA==", "8", "a,b,a", `x; y="1\2"; z=3, w`)
	f.Add("POST", "", "", ",", ";=")
	f.Fuzz(func(t *testing.T, method, key, version, protocol, extensions string) {
		h := Handshake{[]byte(method), []byte(key), []byte(version), []byte(protocol), []byte(extensions)}
		if protocol == "" {
			h.Protocol = nil
		}
		if extensions == "" {
			h.Extensions = nil
		}
		err := h.Check()
		require.Equal(t, err == nil || err == errExtensions || err == errSubproto, slowCheck(h))
		if err != nil {
			require.IsType(t, &HandshakeError{}, err)
			return
		}
		if h.Protocol != nil {
			var names []string
			for _, name := range strings.Split(protocol, ",") {
				if name = strings.Trim(name, " \t"); name == "" {
					continue
				}
				require.NotContains(t, names, name)
				names = append(names, name)
			}
			require.Equal(t, names[0], string(h.firstProtocol()))
		}
		// Whatever the peer sent: one response head, with the lines we wrote.
		out := string(h.AppendResponse(nil))
		lines := strings.Split(out, "\r\n")
		want := 5
		if h.Protocol != nil {
			want++
		}
		require.Len(t, lines, want)
		require.Empty(t, lines[want-1])
		for _, line := range lines[1 : want-1] {
			name, value, ok := strings.Cut(line, ": ")
			require.True(t, ok)
			require.Equal(t, http.CanonicalHeaderKey(name), strings.Replace(name, "WebSocket", "Websocket", 1))
			require.NotContains(t, value, "\n")
		}
	})
}

// slowCheck is all of Check but the two lists, said with the standard library.
func slowCheck(h Handshake) bool {
	key := string(h.Key)
	const digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
	return string(h.Method) == "GET" && len(key) == 24 && strings.Trim(key[:22], digits) == "" && key[22:] == "==" &&
		(string(h.Version) == "13" || string(h.Version) == "8")
}

func BenchmarkAppendResponse(b *testing.B) {
	b.ReportAllocs()
	h := good()
	dst := make([]byte, 0, 512)
	for b.Loop() {
		h.AppendResponse(dst)
	}
}

func BenchmarkHandshakeCheck(b *testing.B) {
	b.ReportAllocs()
	h := good()
	h.Protocol = []byte("chat, superchat")
	h.Extensions = []byte("permessage-deflate; client_max_window_bits")
	for b.Loop() {
		if err := h.Check(); err != nil {
			b.Fatal(err)
		}
	}
}
