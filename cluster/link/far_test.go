package link

import (
	"fmt"
	"strings"

	"turbine/loop/looptest"

	"github.com/stretchr/testify/require"
)

// far is the other end of a connection, played by hand.
type far struct {
	t    require.TestingT
	peer *looptest.Peer
	run  func()
	in   []byte // not parsed
	ours []byte // hello
	them []byte // hello
}

// frames returns what has come, as words.
func (f *far) frames() string {
	f.in = append(f.in, f.peer.Read()...)
	var words []string
	for {
		h, body, n, err := Parse(f.in)
		if err != nil {
			require.Equal(f.t, ErrIncomplete, err)
			break
		}
		if h.Kind == Hello {
			f.them = append([]byte(nil), body...)
		}
		if h.Kind == Ping || h.Kind == Hello || h.Kind == Proof {
			words = append(words, h.Kind.String())
		} else {
			words = append(words, fmt.Sprintf("%v %d %d", h.Kind, h.Stream, h.Length))
		}
		f.in = f.in[n:]
	}
	if len(f.in) == 0 {
		f.in = nil
	}
	return strings.Join(words, ", ")
}

func (f *far) say(kind Kind, flags uint8, stream uint32, body []byte) {
	f.peer.Write(Append(nil, kind, flags, stream, body))
	f.run()
}

func (f *far) hello(s *Self, purpose Purpose) {
	oldest, newest := s.versions()
	h := hello{oldest: oldest, newest: newest, purpose: purpose, node: s.Node, boot: s.Boot, options: s.Options, cluster: []byte(s.Cluster)}
	h.nonce[0] = 42
	f.ours = appendHello(nil, h)
	f.say(Hello, 0, 0, f.ours)
}

// prove proves the key, as the end that accepts.
func (f *far) prove(key []byte) {
	p := proof(key, roleAcceptor, f.them, f.ours, nil)
	f.say(Proof, 0, 0, p[:])
}

// proveDialer does so as the end that dials.
func (f *far) proveDialer(key []byte) {
	p := proof(key, roleDialer, f.ours, f.them, nil)
	f.say(Proof, 0, 0, p[:])
}
