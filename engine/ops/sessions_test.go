package ops

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"turbine/engine"
	"turbine/engine/enginetest"

	"github.com/stretchr/testify/require"
)

// shown is a session as an answer has it.
type shown struct {
	ID         string
	Transport  string
	Revision   int
	Address    string
	Opened     time.Time
	Groups     []string
	MoreGroups int `json:"more_groups"`
	Buffered   int
	Heartbeat  time.Time
	State      string
}

type shownPage struct {
	Sessions []shown
	Cursor   *string
}

type shownGroups struct {
	Groups []struct {
		Name     string
		Sessions int
	}
	Cursor *string
}

// answerOf reads an answer that has to be one with 200, without a field that v has not.
func answerOf[T any](t *testing.T, h http.Handler, target string, header ...string) (v T) {
	t.Helper()
	r := ask(h, request("GET", target, "", header...))
	body := bodyOf(t, r)
	require.Equal(t, 200, r.StatusCode, "%s: %s", target, body)
	require.Equal(t, "application/json", r.Header.Get("Content-Type"))
	decoder := json.NewDecoder(strings.NewReader(body))
	decoder.DisallowUnknownFields()
	require.NoError(t, decoder.Decode(&v), body)
	return v
}

// A hall is a server in memory with a Handler for it.
type hall struct {
	t     *testing.T
	world *enginetest.World
	h     *Handler
	log   *log
	last  *engine.Session // that has opened
}

func newHall(t *testing.T, o engine.Options) *hall {
	a := &hall{t: t}
	a.world = enginetest.New(t, o, engine.Events{Open: func(s *engine.Session, _ *engine.Request) { a.last = s }})
	a.h, a.log = newTest(t, Options{Server: a.world.Server()})
	return a
}

func (a *hall) dial(o enginetest.Options, groups ...string) (*enginetest.Client, *engine.Session) {
	c := a.world.Dial(o)
	for _, name := range groups {
		a.last.Join(name)
	}
	a.world.Settle()
	return c, a.last
}

// all fetches page by page, and returns the public ids in the order in which they came.
func (a *hall) all(query string) (ids []string) {
	for cursor := ""; ; {
		page := answerOf[shownPage](a.t, a.h, "/v1/sessions?"+query+"&cursor="+cursor)
		for _, s := range page.Sessions {
			ids = append(ids, s.ID)
		}
		if cursor = *page.Cursor; cursor == "" {
			return ids
		}
	}
}

func TestSessionIsShown(t *testing.T) {
	a := newHall(t, engine.Options{})
	_, s := a.dial(enginetest.Options{Transport: engine.WebSocket}, "room:1", `a "quoted" name`)
	a.world.Advance(30 * time.Second) // with a ping and a pong at 25
	one := answerOf[shown](t, a.h, "/v1/sessions/"+s.PublicID())
	require.Equal(t, 25*time.Second, one.Heartbeat.Sub(one.Opened).Round(100*time.Millisecond))
	require.WithinDuration(t, s.Opened(), one.Opened, time.Millisecond)
	want := shown{
		ID: s.PublicID(), Transport: "websocket", Revision: 4, Address: s.RemoteAddr().String(), Groups: []string{"room:1", `a "quoted" name`}, State: "open",
		Opened: one.Opened, Heartbeat: one.Heartbeat,
	}
	require.Equal(t, want, one)
	require.Equal(t, []shown{want}, answerOf[shownPage](t, a.h, "/v1/sessions").Sessions)
	raw := bodyOf(t, ask(a.h, request("GET", "/v1/sessions/"+s.PublicID(), "")))
	require.Regexp(t, `"opened":"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"`, raw)
	require.NotContains(t, raw, s.ID())
}

// A session that waits for its client to come for what is left is closing.
func TestClosingIsShown(t *testing.T) {
	a := newHall(t, engine.Options{})
	c, s := a.dial(enginetest.Options{Transport: engine.Polling, Paused: true})
	s.Close()
	a.world.Settle()
	require.Equal(t, "closing", answerOf[shown](t, a.h, "/v1/sessions/"+s.PublicID()).State)
	require.Equal(t, "closing", answerOf[shownPage](t, a.h, "/v1/sessions").Sessions[0].State)
	require.Equal(t, `{"sessions":0}`+"\n", bodyOf(t, ask(a.h, request("DELETE", "/v1/sessions/"+s.PublicID(), ""))))
	c.Resume()
	a.world.Settle()
	require.Empty(t, answerOf[shownPage](t, a.h, "/v1/sessions").Sessions)
}

func TestFilters(t *testing.T) {
	a := newHall(t, engine.Options{})
	ids := map[string]string{}
	add := func(name string, o enginetest.Options, groups ...string) {
		_, s := a.dial(o, groups...)
		ids[s.PublicID()] = name
	}
	add("polls", enginetest.Options{Transport: engine.Polling}, "all")
	add("socket", enginetest.Options{Transport: engine.WebSocket}, "all", "")
	add("old", enginetest.Options{Transport: engine.WebSocket, Revision: engine.Revision3, Address: netip.MustParseAddr("2001:db8:1::7")}, "all", "few")
	for query, want := range map[string][]string{
		"":                             {"polls", "socket", "old"},
		"transport=polling":            {"polls"},
		"transport=websocket":          {"socket", "old"},
		"revision=3":                   {"old"},
		"revision=4":                   {"polls", "socket"},
		"revision=3&transport=polling": {},
		"group=all":                    {"polls", "socket", "old"},
		"group=few":                    {"old"},
		"group=":                       {"socket"},
		"group=nobody":                 {},
		"address=127.0.0.1":            {"polls", "socket"},
		"address=::ffff:127.0.0.1":     {"polls", "socket"},
		"address=127.0.0.0/8":          {"polls", "socket"},
		"address=::ffff:127.0.0.0/104": {"polls", "socket"},
		"address=0.0.0.0/0":            {"polls", "socket"},
		"address=2001:db8:1::7":        {"old"},
		"address=2001:db8::/32":        {"old"},
		"address=::/0":                 {"old"},
		"address=203.0.113.0/24":       {},
	} {
		for _, limit := range []string{"limit=1&", "limit=2&", "limit=1000&"} {
			got := []string{}
			for _, id := range a.all(limit + query) {
				got = append(got, ids[id])
			}
			require.ElementsMatch(t, want, got, limit+query)
		}
		lines := strings.Split(strings.TrimSpace(bodyOf(t, ask(a.h, request("GET", "/v1/sessions?"+query, "", "Accept: application/x-ndjson")))), "\n")
		got := []string{}
		for _, line := range lines {
			if line != "" {
				var s shown
				require.NoError(t, json.Unmarshal([]byte(line), &s))
				got = append(got, ids[s.ID])
			}
		}
		require.ElementsMatch(t, want, got, query)
	}
}

// What cannot be meant is an error that says what can.
func TestBadQueries(t *testing.T) {
	a := newHall(t, engine.Options{})
	_, s := a.dial(enginetest.Options{})
	one := "/v1/sessions/" + s.PublicID()
	for _, c := range []struct {
		method, target, accept string
		status                 int
		kind                   string
	}{
		{"GET", "/v1/sessions?limit=0", "", 400, "bad-query"},
		{"GET", "/v1/sessions?limit=1001", "", 400, "bad-query"},
		{"GET", "/v1/sessions?limit=", "", 400, "bad-query"},
		{"GET", "/v1/sessions?limit=-1", "", 400, "bad-query"},
		{"GET", "/v1/sessions?limit=1e3", "", 400, "bad-query"},
		{"GET", "/v1/sessions?cursor=-", "", 400, "bad-query"},
		{"GET", "/v1/sessions?cursor=zzzzzzzzzzzzzzz", "", 400, "bad-query"},
		{"GET", "/v1/sessions?transport=webtransport", "", 400, "bad-query"},
		{"GET", "/v1/sessions?transport=", "", 400, "bad-query"},
		{"GET", "/v1/sessions?revision=5", "", 400, "bad-query"},
		{"GET", "/v1/sessions?address=localhost", "", 400, "bad-query"},
		{"GET", "/v1/sessions?address=192.0.2.1:80", "", 400, "bad-query"},
		{"GET", "/v1/sessions?address=192.0.2.0/33", "", 400, "bad-query"},
		{"GET", "/v1/sessions?address=fe80::1%25eth0", "", 400, "bad-query"},
		{"GET", "/v1/sessions?addr=192.0.2.1", "", 400, "bad-query"},
		{"GET", "/v1/sessions?group=a&group=b", "", 400, "bad-query"},
		{"GET", "/v1/sessions?group=%zz", "", 400, "bad-query"},
		{"GET", "/v1/sessions?limit=5", streamType, 400, "bad-query"},
		{"GET", "/v1/sessions?cursor=5", "text/html, application/x-ndjson; q=0.9", 400, "bad-query"},
		{"GET", one + "?limit=5", "", 400, "bad-query"},
		{"GET", "/v1/sessions/" + s.ID(), "", 404, "not-found"},
		{"GET", "/v1/sessions/" + s.PublicID()[:21] + "B", "", 404, "not-found"},
		{"GET", "/v1/sessions/" + strings.Repeat("A", 5000), "", 404, "not-found"},
		{"DELETE", "/v1/sessions/AAAAAAAAAAAAAAAAAAAAAA", "", 404, "not-found"},
		{"DELETE", "/v1/sessions", "", 405, "method"},
		{"DELETE", one + "?code=1005", "", 400, "bad-query"},
		{"DELETE", one + "?code=", "", 400, "bad-query"},
		{"DELETE", one + "?code=4000x", "", 400, "bad-query"},
		{"DELETE", one + "?code=99999999999999999999", "", 400, "bad-query"},
		{"DELETE", one + "?reason=" + strings.Repeat("x", 124), "", 400, "bad-query"},
		{"DELETE", one + "?reason=%ff", "", 400, "bad-query"},
		{"DELETE", one + "?reson=x", "", 400, "bad-query"},
		{"GET", "/v1/groups?limit=0", "", 400, "bad-query"},
		{"GET", "/v1/groups?cursor=*", "", 400, "bad-query"},
		{"GET", "/v1/groups?group=a", "", 400, "bad-query"},
	} {
		r := ask(a.h, request(c.method, c.target, "", "Accept: "+c.accept))
		require.Equal(t, c.status, r.StatusCode, "%+v", c)
		kind, detail := isProblem(t, r)
		require.Equal(t, c.kind, kind, "%+v", c)
		require.NotContains(t, detail, s.ID())
	}
	require.Equal(t, engine.StateOpen, s.State())
}

// A page is found again by its cursor, which fits in a query as it is.
func TestPagesOfManySessions(t *testing.T) {
	const sessions = 250
	a := newHall(t, engine.Options{Limits: engine.Limits{HandshakeRate: -1}})
	want := map[string]int{}
	for range sessions {
		_, s := a.dial(enginetest.Options{Transport: engine.WebSocket})
		want[s.PublicID()] = 0
	}
	page := answerOf[shownPage](t, a.h, "/v1/sessions")
	require.Len(t, page.Sessions, pageLimit)
	require.Equal(t, url.QueryEscape(*page.Cursor), *page.Cursor)
	for _, limit := range []int{1, 7, 125, 250, 251} {
		ids := a.all(fmt.Sprint("limit=", limit))
		require.Len(t, ids, sessions)
		for _, id := range ids {
			want[id]++
			delete(want, "")
		}
	}
	for id, n := range want {
		require.Equal(t, 5, n, id)
	}
	// A full page that is the last one says so.
	require.Empty(t, *answerOf[shownPage](t, a.h, "/v1/sessions?limit=250").Cursor)
}

// A page has a bound besides its limit: sessions with many groups make it shorter.
func TestPagesAreBoundedInBytes(t *testing.T) {
	a := newHall(t, engine.Options{})
	const groups = 2 * listedGroups
	for i := range 30 {
		_, s := a.dial(enginetest.Options{Transport: engine.WebSocket})
		for j := range groups {
			s.Join(fmt.Sprint(i, " ", j, " ", strings.Repeat("x", 2*maxGroupName)))
		}
	}
	a.world.Settle()
	page := answerOf[shownPage](t, a.h, "/v1/sessions?limit=1000")
	require.Less(t, len(page.Sessions), 20)
	require.Len(t, page.Sessions[0].Groups, listedGroups)
	require.Equal(t, groups-listedGroups, page.Sessions[0].MoreGroups)
	require.Len(t, page.Sessions[0].Groups[0], maxGroupName+len("…"))
	ids := a.all("limit=1000")
	require.Len(t, ids, 30)
	require.Len(t, answerOf[shown](t, a.h, "/v1/sessions/"+ids[0]).Groups, groups, "of one session all are shown")
}

func TestGroupsAreListed(t *testing.T) {
	a := newHall(t, engine.Options{})
	long := strings.Repeat("é", maxGroupName) + "end"
	_, first := a.dial(enginetest.Options{}, "room:1", "room:2", "lobby", "", "\xff", long)
	_, _ = a.dial(enginetest.Options{}, "room:1", "lobby")
	for limit := 1; limit < 9; limit++ {
		got := map[string]int{}
		for cursor, ended := "", false; !ended; ended = cursor == "" {
			page := answerOf[shownGroups](t, a.h, fmt.Sprintf("/v1/groups?limit=%d&cursor=%s", limit, cursor))
			for _, g := range page.Groups {
				require.NotContains(t, got, g.Name)
				got[g.Name] = g.Sessions
			}
			cursor = *page.Cursor
		}
		require.Equal(t, map[string]int{"room:1": 2, "room:2": 1, "lobby": 2, "": 1, "\ufffd": 1, strings.Repeat("é", maxGroupName/2) + "…": 1}, got)
	}
	page := answerOf[shownGroups](t, a.h, "/v1/groups?prefix=room:")
	require.Len(t, page.Groups, 2)
	require.Empty(t, *page.Cursor)
	require.Empty(t, answerOf[shownGroups](t, a.h, "/v1/groups?prefix=nobody").Groups)
	require.Equal(t, `{"groups":[],"cursor":""}`+"\n", bodyOf(t, ask(a.h, request("GET", "/v1/groups?prefix=nobody", ""))))
	first.CloseNow()
	a.world.Settle()
	require.Len(t, answerOf[shownGroups](t, a.h, "/v1/groups").Groups, 2)
}

func TestSessionsAreEnded(t *testing.T) {
	for _, c := range []struct {
		query  string
		code   int
		reason string
		logged string
	}{
		{"", 0, "", ""},
		{"?code=4001&reason=kicked", 4001, "kicked", "code=4001 reason=kicked "},
		{"?code=4001", 4001, "", `code=4001 reason="" `},
		{"?reason=out%20of%20order", 1000, "out of order", `code=1000 reason="out of order" `},
		{"?reason=a%0Alevel=ERROR", 1000, "a\nlevel=ERROR", `code=1000 reason="a\nlevel=ERROR" `},
	} {
		t.Run("DELETE "+c.query, func(t *testing.T) {
			var why engine.Reason
			var err error
			var s *engine.Session
			w := enginetest.New(t, engine.Options{}, engine.Events{
				Open:  func(opened *engine.Session, _ *engine.Request) { s = opened },
				Close: func(_ *engine.Session, reason engine.Reason, e error) { why, err = reason, e },
			})
			h, log := newTest(t, Options{Server: w.Server()})
			w.Dial(enginetest.Options{Transport: engine.WebSocket})
			target := "/v1/sessions/" + s.PublicID()
			r := ask(h, request("DELETE", target+c.query, ""))
			require.Equal(t, 200, r.StatusCode)
			require.Equal(t, `{"sessions":1}`+"\n", bodyOf(t, r))
			r = ask(h, request("DELETE", target+"?code=4002", ""))
			require.Equal(t, 200, r.StatusCode)
			require.Equal(t, `{"sessions":0}`+"\n", bodyOf(t, r), "it is ending already")
			w.Settle()
			require.Equal(t, engine.ReasonForcedClose, why)
			var told *engine.ClosedByApp
			if c.code == 0 {
				require.NoError(t, err)
			} else {
				require.ErrorAs(t, err, &told)
				require.Equal(t, engine.ClosedByApp{Code: c.code, Reason: c.reason}, *told)
			}
			require.Equal(t, 404, ask(h, request("DELETE", target, "")).StatusCode)
			require.Equal(t, 404, ask(h, request("GET", target, "")).StatusCode)
			require.Contains(t, log.String(), "msg=\"a request for operations\" "+c.logged+"method=DELETE path="+target+" done=true who=local")
			require.NotContains(t, log.String(), s.ID())
		})
	}
}

// Of several requests that end one session at the same time, one has ended it.
func TestOneRequestEndsASession(t *testing.T) {
	a := newHall(t, engine.Options{})
	for range 50 {
		_, s := a.dial(enginetest.Options{Transport: engine.Polling, Paused: true})
		var ended atomic.Int32
		var requests sync.WaitGroup
		begin := make(chan struct{})
		for i := range 8 {
			query := []string{"", "?code=4001"}[i%2]
			requests.Go(func() {
				<-begin
				w := httptest.NewRecorder()
				a.h.ServeHTTP(w, request("DELETE", "/v1/sessions/"+s.PublicID()+query, ""))
				var answer struct{ Sessions int32 }
				if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
					t.Error(err)
				}
				ended.Add(answer.Sessions)
			})
		}
		close(begin)
		requests.Wait()
		require.EqualValues(t, 1, ended.Load())
	}
}

// A server that does not serve has no sessions.
func TestNobody(t *testing.T) {
	h, _ := newTest(t, Options{})
	require.Equal(t, `{"sessions":[],"cursor":""}`+"\n", bodyOf(t, ask(h, request("GET", "/v1/sessions?cursor=7", ""))))
	require.Empty(t, bodyOf(t, ask(h, request("GET", "/v1/sessions", "", "Accept: "+streamType))))
	require.Equal(t, 404, ask(h, request("GET", "/v1/sessions/AAAAAAAAAAAAAAAAAAAAAA", "")).StatusCode)
	require.Empty(t, answerOf[shownGroups](t, h, "/v1/groups").Groups)
}

// Page has to say how the histograms of the figures are divided.
func TestStatsHasDelayBounds(t *testing.T) {
	h, _ := newTest(t, Options{})
	var v struct {
		Bounds      []float64                `json:"delay_bounds_seconds"`
		LoopLag     struct{ Counts []int64 } `json:"loop_lag"`
		PingLatenes struct{ Counts []int64 } `json:"ping_lateness"`
	}
	require.NoError(t, json.Unmarshal([]byte(bodyOf(t, ask(h, request("GET", "/v1/stats", "")))), &v))
	require.Len(t, v.Bounds, len(engine.DelayBounds))
	require.IsIncreasing(t, v.Bounds)
	require.Len(t, v.LoopLag.Counts, len(v.Bounds)+1)
	require.Len(t, v.PingLatenes.Counts, len(v.Bounds)+1)
}
