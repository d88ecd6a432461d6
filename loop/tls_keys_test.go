//go:build linux

package loop_test

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"turbine/internal/certs"
	"turbine/loop"
	"turbine/loop/looptest"
	"turbine/pool"

	"github.com/stretchr/testify/require"
)

// A sealer makes a TLS 1.3 client's records by hand, for what crypto/tls does not
// let clients do.
type sealer struct {
	t      *testing.T
	secret []byte
	seal   cipher.AEAD
	iv     []byte
	seq    uint64
}

// newSealer continues where the client with that key log has ended its handshake.
func newSealer(t *testing.T, keyLog string) *sealer {
	t.Helper()
	_, rest, ok := strings.Cut(keyLog, "CLIENT_TRAFFIC_SECRET_0 ")
	require.True(t, ok, keyLog)
	words := strings.Fields(rest)
	secret, err := hex.DecodeString(words[1])
	require.NoError(t, err)
	require.Len(t, secret, sha256.Size, "the suite is TLS_AES_128_GCM_SHA256")
	s := &sealer{t: t}
	s.use(secret)
	return s
}

func (s *sealer) expand(label string, n int) []byte {
	info := binary.BigEndian.AppendUint16(nil, uint16(n))
	info = append(append(info, byte(len("tls13 "+label))), "tls13 "+label...)
	out, err := hkdf.Expand(sha256.New, s.secret, string(append(info, 0)), n)
	require.NoError(s.t, err)
	return out
}

func (s *sealer) use(secret []byte) {
	s.secret, s.seq = secret, 0
	block, err := aes.NewCipher(s.expand("key", 16))
	require.NoError(s.t, err)
	s.seal, err = cipher.NewGCM(block)
	require.NoError(s.t, err)
	s.iv = s.expand("iv", 12)
}

// record appends a record of the kind typ.
func (s *sealer) record(dst []byte, typ byte, content string) []byte {
	plain := append([]byte(content), typ)
	header := binary.BigEndian.AppendUint16([]byte{23, 3, 3}, uint16(len(plain)+s.seal.Overhead()))
	nonce := binary.BigEndian.AppendUint64(make([]byte, 4), s.seq)
	for i := range nonce {
		nonce[i] ^= s.iv[i]
	}
	s.seq++
	return s.seal.Seal(append(dst, header...), nonce, plain, header)
}

func (s *sealer) data(dst []byte, text string) []byte { return s.record(dst, 23, text) }

// updateKey says that it changes the key, and asks the server to do the same.
func (s *sealer) updateKey(dst []byte) []byte {
	dst = s.record(dst, 22, "\x18\x00\x00\x01\x01")
	s.use(s.expand("traffic upd", sha256.Size))
	return dst
}

// Keys change between messages, whatever pieces the bytes come in, in the middle
// of a message, and in records that are two in one.
func TestTLSKeyUpdate(t *testing.T) {
	for kernel, start := range kernels {
		for _, size := range []int{1, 2, 3, 10, 1000} {
			for _, known := range []bool{true, false} {
				t.Run(fmt.Sprintf("%s/%d/%v", kernel, size, known), func(t *testing.T) {
					if !known {
						defer loop.ForgetTLSBuffers()()
					}
					b := startTLS(t, start, func(_ *tlsBench, o *loop.TLSOptions) { o.Timeout = time.Hour })
					var keyLog bytes.Buffer
					config := b.client.Clone()
					config.KeyLogWriter = &keyLog
					inner := b.Dial()
					c := b.shake(inner, config)
					require.NoError(t, c.Err())
					s := newSealer(t, keyLog.String())
					var out []byte
					want := ""
					for i := range 10 { // crypto/tls takes 16 in a row
						text := strings.Repeat("k", i)
						out = s.updateKey(out)
						if i%3 == 0 {
							out = s.updateKey(out)
						}
						if i > 0 {
							out = s.data(out, text)
						} else {
							out = s.data(out, "first")
							text = "first"
						}
						want += text
					}
					rest := out
					var got []byte
					b.until("all messages", func() bool {
						rest = rest[inner.Send(rest[:min(size, len(rest))]):]
						got = append(got, c.Recv(10_000)...)
						require.NoError(t, c.Err())
						return len(got) >= len(want)
					})
					require.Equal(t, want, string(got))
					inner.CloseWrite()
					b.quietly()
				})
			}
		}
	}
}

// A client that asks for new keys again and again and reads nothing is cut off: what
// crypto/tls has to say to it waits in memory that no limit of the application
// knows of.
func TestTLSKeyUpdateFlood(t *testing.T) {
	authority := certs.New(t)
	filter := loop.NewTLS(loop.TLSOptions{Config: &tls.Config{Certificates: []tls.Certificate{authority.Issue(t, "server", nil).TLS(t)}}})
	var ended error
	w := looptest.NewWorld(1, loop.Options{Logger: slog.New(slog.DiscardHandler)}, filter.Accept(func(c *loop.Conn) loop.Handler { return &sink{&ended} }))
	peer := w.Dial()
	var keyLog bytes.Buffer
	c := looptest.NewTLSClient(peer.Client(), &tls.Config{RootCAs: authority.Pool(), ServerName: "localhost", KeyLogWriter: &keyLog}, w.Run)
	c.Shake()
	require.NoError(t, c.Err())
	w.Run()
	s := newSealer(t, keyLog.String())
	peer.SetWindow(0)
	most := int64(0)
	for range 20_000 {
		peer.Write(s.data(s.updateKey(nil), "x"))
		w.Run()
		most = max(most, w.Loops()[0].Unsent())
		if peer.Closed() {
			break
		}
	}
	require.True(t, peer.Closed())
	require.ErrorIs(t, ended, loop.ErrTLSFlood)
	require.Greater(t, most, int64(100_000), "it counts as unsent")
	require.Less(t, most, int64(300_000))
	require.Zero(t, w.Loops()[0].Unsent())
	w.Close()
	require.Zero(t, pool.Outstanding())
}

// sink takes everything and remembers how it ended.
type sink struct{ err *error }

func (*sink) Data([]byte)        {}
func (*sink) Drained()           {}
func (*sink) EOF()               {}
func (s *sink) Closed(err error) { *s.err = err }

// A client that asks for new keys after the server has ended its direction is heard on,
// and answered nothing: the end is told already.
func TestTLSKeyUpdateBehindCloseWrite(t *testing.T) {
	authority := certs.New(t)
	filter := loop.NewTLS(loop.TLSOptions{Config: &tls.Config{Certificates: []tls.Certificate{authority.Issue(t, "server", nil).TLS(t)}}})
	h := &stopAndGo{}
	w := looptest.NewWorld(1, loop.Options{Logger: slog.New(slog.DiscardHandler)}, filter.Accept(func(c *loop.Conn) loop.Handler { h.conn = c; return h }))
	peer := w.Dial()
	var keyLog bytes.Buffer
	c := looptest.NewTLSClient(peer.Client(), &tls.Config{RootCAs: authority.Pool(), ServerName: "localhost", KeyLogWriter: &keyLog}, w.Run)
	c.Shake()
	require.NoError(t, c.Err())
	w.Run()
	require.NoError(t, w.Loops()[0].Post(loop.Func(h.conn.CloseWrite)))
	w.Run()
	require.Empty(t, c.Recv(1))
	require.True(t, c.EOF())
	s := newSealer(t, keyLog.String())
	for i := range 3 {
		peer.Write(s.data(s.updateKey(nil), "x"))
		w.Run()
		require.Equal(t, i+1, h.heard)
		require.Zero(t, peer.Buffered())
		require.False(t, peer.Closed())
	}
	w.Close()
	require.Zero(t, pool.Outstanding())
}
