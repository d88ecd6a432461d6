package ops

import (
	"encoding/base64"
	"encoding/json"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"turbine/engine"
)

const (
	listedGroups = 100  // names that a session has in a list; all of them are shown of one session
	maxGroupName = 1024 // bytes of a group's name that are shown
)

// appendSession appends s as JSON, with at most that many of its groups, or with all
// below 0. A list may have a million of these: nothing here goes through reflection.
func appendSession(dst []byte, s *engine.Session, most int) []byte {
	dst = append(dst, `{"id":"`...)
	dst = append(dst, s.PublicID()...)
	dst = append(dst, `","transport":"`...)
	dst = append(dst, s.Transport().String()...)
	dst = append(dst, `","revision":`...)
	dst = strconv.AppendInt(dst, int64(s.Revision()), 10)
	dst = append(dst, `,"address":`...)
	dst = appendAddress(dst, s.RemoteAddr())
	dst = append(dst, `,"opened":`...)
	dst = appendTime(dst, s.Opened())
	dst = append(dst, `,"groups":[`...)
	groups := s.Groups()
	left := 0
	if most >= 0 && len(groups) > most {
		groups, left = groups[:most], len(groups)-most
	}
	for i, name := range groups {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendName(dst, name)
	}
	dst = append(dst, ']')
	if left > 0 {
		dst = append(dst, `,"more_groups":`...)
		dst = strconv.AppendInt(dst, int64(left), 10)
	}
	dst = append(dst, `,"buffered":`...)
	dst = strconv.AppendInt(dst, int64(s.Buffered()), 10)
	dst = append(dst, `,"heartbeat":`...)
	dst = appendTime(dst, s.LastHeartbeat())
	dst = append(dst, `,"state":"`...)
	dst = append(dst, stateOf(s)...)
	return append(dst, `"}`...)
}

// stateOf is a session's state in one word. A session that has just closed was closing.
func stateOf(s *engine.Session) string {
	switch {
	case s.State() != engine.StateOpen:
		return engine.StateClosing.String()
	case s.Upgrading():
		return "upgrading"
	}
	return engine.StateOpen.String()
}

// appendAddress appends the address of a client as logs have it: "@" on a Unix socket.
func appendAddress(dst []byte, a netip.AddrPort) []byte {
	switch {
	case !a.IsValid():
		return append(dst, `"@"`...)
	case a.Addr().Zone() != "": // a text of somebody else
		return appendText(dst, a.String())
	}
	dst = append(dst, '"')
	if a.Port() == 0 { // a proxy has not said it
		dst = a.Addr().AppendTo(dst)
	} else {
		dst = a.AppendTo(dst)
	}
	return append(dst, '"')
}

// appendTime appends a time as RFC 3339 has it, to a millisecond, in UTC.
func appendTime(dst []byte, t time.Time) []byte {
	return t.UTC().AppendFormat(dst, `"2006-01-02T15:04:05.000Z"`)
}

// appendText appends a text as a JSON string.
func appendText(dst []byte, text string) []byte {
	plain := func(b byte) bool { return b >= ' ' && b < 0x7f && !strings.ContainsRune(`"\<>&`, rune(b)) }
	for i := range len(text) {
		if !plain(text[i]) {
			quoted, err := json.Marshal(text)
			if err != nil { // a text always can be
				panic(err)
			}
			return append(dst, quoted...)
		}
	}
	dst = append(dst, '"')
	dst = append(dst, text...)
	return append(dst, '"')
}

// appendName appends a group's name, which may be as long as a message: the end of a
// long one is left out.
func appendName(dst []byte, name string) []byte {
	if len(name) <= maxGroupName {
		return appendText(dst, name)
	}
	cut := maxGroupName
	for cut > maxGroupName-utf8.UTFMax && !utf8.RuneStart(name[cut]) {
		cut--
	}
	return appendText(dst, name[:cut]+"…")
}

// nameCursor is the cursor of the page behind a name. Of a long name it has the
// beginning: others with the same one are left out.
func nameCursor(last string) string {
	behind := last + "\x00"
	if len(last) > maxGroupName {
		behind = last[:maxGroupName] + "\xff"
	}
	return base64.RawURLEncoding.EncodeToString([]byte(behind))
}

// parseNameCursor is the name that the page begins with.
func parseNameCursor(text string) (from string, err error) {
	name, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil {
		return "", badQuery("cursor is what the page before has under this name.")
	}
	return string(name), nil
}
