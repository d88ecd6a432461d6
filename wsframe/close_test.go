package wsframe

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/gobwas/ws"
	"github.com/stretchr/testify/require"
)

func TestCloseCodes(t *testing.T) {
	valid := func(code int) bool {
		return 1000 <= code && code <= 1014 && code != 1004 && code != 1005 && code != 1006 ||
			3000 <= code && code <= 4999
	}
	for code := range 1 << 16 {
		got, reason, err := ParseClose([]byte{byte(code >> 8), byte(code)})
		if !valid(code) {
			require.Equal(t, errCloseCode, err, code)
			continue
		}
		require.NoError(t, err, code)
		require.Equal(t, ws.StatusCode(code), got)
		require.Empty(t, reason)
	}
}

func TestParseClose(t *testing.T) {
	for _, c := range []struct {
		in     string
		code   ws.StatusCode
		reason string
		err    error
	}{
		{"", 0, "", nil},
		{"\x03", 0, "", errCloseLength},
		{"\x03\xe8", 1000, "", nil},
		{"\x03\xe8bye", 1000, "bye", nil},
		{"\x03\xe8" + strings.Repeat("x", 123), 1000, strings.Repeat("x", 123), nil},
		{"\x03\xe9\xe2\x82\xac", 1001, "€", nil},
		{"\x03\xe9\xe2\x82", 0, "", errCloseReason},
		{"\x03\xe9\xed\xa0\x80", 0, "", errCloseReason},
		{"\x03\xed\xff", 0, "", errCloseCode},
		{"\x00\x00", 0, "", errCloseCode},
	} {
		code, reason, err := ParseClose([]byte(c.in))
		require.Equal(t, c.err, err, "%x", c.in)
		require.Equal(t, c.code, code, "%x", c.in)
		require.Equal(t, c.reason, string(reason), "%x", c.in)
	}
	require.Equal(t, ws.StatusProtocolError, errCloseLength.Code)
	require.Equal(t, ws.StatusProtocolError, errCloseCode.Code)
	require.Equal(t, ws.StatusInvalidFramePayloadData, errCloseReason.Code)
}

func TestAppendClose(t *testing.T) {
	x := strings.Repeat("x", 200)
	for _, c := range []struct {
		name   string
		code   ws.StatusCode
		reason string
		want   string
	}{
		{"no status", 0, "ignored", "\x88\x00"},
		{"no reason", 1000, "", "\x88\x02\x03\xe8"},
		{"reason", 1009, "big", "\x88\x05\x03\xf1big"},
		{"private", 4999, "", "\x88\x02\x13\x87"},
		{"123 bytes", 1000, x[:123], "\x88\x7d\x03\xe8" + x[:123]},
		{"124 bytes", 1000, x[:124], "\x88\x7d\x03\xe8" + x[:123]},
		{"cut in a code point", 1000, x[:121] + "€uro", "\x88\x7b\x03\xe8" + x[:121]},
		{"cut behind one", 1000, x[:120] + "€uro", "\x88\x7d\x03\xe8" + x[:120] + "€"},
		{"not UTF-8", 1000, "\xff", "\x88\x02\x03\xe8"},
		{"continuation bytes only", 1000, strings.Repeat("\x80", 200), "\x88\x02\x03\xe8"},
	} {
		require.Equal(t, "before"+c.want, string(AppendClose([]byte("before"), c.code, c.reason)), c.name)
	}
}

// What the reader tells a peer fits into a close frame whole.
func TestCloseErrors(t *testing.T) {
	all := []*CloseError{errLengthSign, errLengthForm, errProtocol, errCloseLength, errCloseCode, errCloseReason, errText, errDeflate, ErrTooBig, ErrManyFragments}
	for _, e := range headerFaults {
		all = append(all, e)
	}
	for _, e := range all {
		p := AppendClose(nil, e.Code, e.Reason)
		code, reason, err := ParseClose(p[2:])
		require.NoError(t, err, e)
		require.Equal(t, *e, CloseError{code, string(reason)})
	}
	require.EqualError(t, ErrTooBig, "wsframe: close 1009: message too big")
}

func FuzzClose(f *testing.F) {
	for _, s := range []string{"", "\x03", "\x03\xe8", "\x03\xe8bye", "\x03\xe9\xe2\x82", "\x0f\xa0\xed\xa0\x80", "\x13\x88"} {
		f.Add([]byte(s))
	}
	f.Add([]byte("\x03\xe8" + strings.Repeat("€", 60)))
	f.Fuzz(func(t *testing.T, payload []byte) {
		code, reason, err := ParseClose(payload)
		if err != nil {
			e, ok := err.(*CloseError)
			require.True(t, ok)
			require.True(t, sendable(e.Code))
			require.Zero(t, code)
			require.Nil(t, reason)
			return
		}
		if code != 0 {
			require.NoError(t, ws.CheckCloseFrameData(registered(code), string(reason)), "laxer than ws")
		}
		out := AppendClose(nil, code, string(reason))
		h, n, err := ParseHeader(out)
		require.NoError(t, err)
		h.Masked = true
		require.NoError(t, CheckHeader(h, false))
		require.Equal(t, len(out)-n, int(h.Length))
		again, kept, err := ParseClose(out[n:])
		require.NoError(t, err)
		require.Equal(t, code, again)
		require.True(t, strings.HasPrefix(string(reason), string(kept)))
		if len(reason) > maxReason {
			require.Less(t, maxReason-len(kept), utf8.UTFMax, "cut too short")
		} else {
			require.Len(t, kept, len(reason))
		}
	})
}

// registered replaces the codes that ws does not know yet.
func registered(code ws.StatusCode) ws.StatusCode {
	if 1012 <= code && code <= 1014 {
		return ws.StatusGoingAway
	}
	return code
}
