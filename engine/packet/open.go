package packet

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"time"
)

// OpenData is what the Data of an Open packet says about a session, in both
// revisions. Servers of the first generations left out MaxPayload, which then
// is 0.
type OpenData struct {
	SID          string        // session id, in the query of every later request
	Upgrades     []string      // transports that the client may change to
	PingInterval time.Duration // time between pings; whole milliseconds on the wire
	PingTimeout  time.Duration // time that an answer may take; whole milliseconds on the wire
	MaxPayload   int           // most bytes in one payload of the client
}

// AppendOpen appends o as compact JSON, with the keys in the order of the
// reference server and its escapes. It is the Data of an Open packet, without
// the digit of the type. Fractions of a millisecond are dropped, and invalid
// UTF-8 becomes U+FFFD.
func AppendOpen(dst []byte, o OpenData) []byte {
	dst = append(dst, `{"sid":`...)
	dst = appendJSONString(dst, o.SID)
	dst = append(dst, `,"upgrades":[`...)
	for i, name := range o.Upgrades {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = appendJSONString(dst, name)
	}
	dst = append(dst, `],"pingInterval":`...)
	dst = strconv.AppendInt(dst, o.PingInterval.Milliseconds(), 10)
	dst = append(dst, `,"pingTimeout":`...)
	dst = strconv.AppendInt(dst, o.PingTimeout.Milliseconds(), 10)
	dst = append(dst, `,"maxPayload":`...)
	dst = strconv.AppendInt(dst, int64(o.MaxPayload), 10)
	return append(dst, '}')
}

// ParseOpen reads the Data of an Open packet. It borrows data and ignores keys
// that it does not know. An error is ErrMalformed with the cause: no JSON, no
// session id, or a negative or absurd number. It is for clients and allocates.
func ParseOpen(data []byte) (OpenData, error) {
	var wire struct {
		SID          string   `json:"sid"`
		Upgrades     []string `json:"upgrades"`
		PingInterval int64    `json:"pingInterval"`
		PingTimeout  int64    `json:"pingTimeout"`
		MaxPayload   int      `json:"maxPayload"`
	}
	if err := json.Unmarshal(data, &wire); err != nil {
		return OpenData{}, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	const most = math.MaxInt64 / int64(time.Millisecond)
	switch {
	case wire.SID == "":
		return OpenData{}, fmt.Errorf("%w: no session id", ErrMalformed)
	case wire.PingInterval < 0, wire.PingInterval > most,
		wire.PingTimeout < 0, wire.PingTimeout > most, wire.MaxPayload < 0:
		return OpenData{}, fmt.Errorf("%w: number out of range", ErrMalformed)
	}
	return OpenData{
		SID:          wire.SID,
		Upgrades:     wire.Upgrades,
		PingInterval: time.Duration(wire.PingInterval) * time.Millisecond,
		PingTimeout:  time.Duration(wire.PingTimeout) * time.Millisecond,
		MaxPayload:   wire.MaxPayload,
	}, nil
}
