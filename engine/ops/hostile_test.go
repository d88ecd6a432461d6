package ops

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"turbine/engine"
	"turbine/engine/enginetest"

	"github.com/stretchr/testify/require"
)

// Whatever a cursor is, it is a place in the list, or it is refused.
func TestCursorsOfAnyKind(t *testing.T) {
	a := newHall(t, engine.Options{Limits: engine.Limits{HandshakeRate: -1}})
	for i := range 5 {
		a.dial(enginetest.Options{Transport: engine.WebSocket}, fmt.Sprint("room:", i))
	}
	random := rand.New(rand.NewPCG(1, 1))
	cursors := []string{"0", "00", "+0", "-1", " 0", "0\x00", "zz", "1z141z3", "1z141z4", "3w5e11264sf", strings.Repeat("z", 8), "é", "_", "____", "gA", strings.Repeat("A", 15<<10)}
	for loop := range 256 {
		for _, slot := range []uint64{0, 1, 1<<31 - 1, 1 << 31, 1<<32 - 1} {
			cursors = append(cursors, strconv.FormatUint(uint64(loop)<<32|slot, 36))
		}
	}
	for range 2000 {
		text := make([]byte, random.IntN(20))
		for i := range text {
			text[i] = byte(random.Uint32())
		}
		cursors = append(cursors, string(text))
	}
	for _, cursor := range cursors {
		for _, path := range []string{"/v1/sessions", "/v1/groups"} {
			r := ask(a.h, request("GET", path+"?cursor="+url.QueryEscape(cursor), ""))
			if r.StatusCode == http.StatusBadRequest {
				kind, _ := isProblem(t, r)
				require.Equal(t, "bad-query", kind)
				continue
			}
			require.Equal(t, http.StatusOK, r.StatusCode, "%s %q", path, cursor)
		}
	}
}
