package main

import (
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"testing"

	"turbine/engine"
	"turbine/engine/enginetest"
	"turbine/examples/internal/trial"

	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) { trial.Main(m, main) }

// A page is what one has been told.
type page struct {
	*enginetest.Client
	quotes  map[string]quote
	viewers int
}

func (p *page) hears(t *testing.T) {
	t.Helper()
	data := p.Next().Data
	var told viewers
	require.NoError(t, json.Unmarshal(data, &told), "%s", data)
	if told.Viewers > 0 {
		p.viewers = told.Viewers
		return
	}
	q := read(engine.Message{Data: data})
	p.quotes[q.Symbol] = quote{Symbol: q.Symbol}.with(p.quotes[q.Symbol]).with(q)
}

// inMemory is the market in a World.
func inMemory(t *testing.T) (*enginetest.World, *market) {
	m := newMarket()
	w := enginetest.New(t, options(), m.events())
	m.server = w.Server()
	return w, m
}

// open opens a page, which hears the quotes and the number of viewers.
func open(t *testing.T, w *enginetest.World, transport engine.Transport) *page {
	p := &page{Client: w.Dial(enginetest.Options{Transport: transport}), quotes: map[string]quote{}}
	for range len(symbols) + 1 {
		p.hears(t)
	}
	return p
}

func TestEveryPageCountsEachTradeOnce(t *testing.T) {
	w, m := inMemory(t)
	for range 50 {
		m.trade()
	}
	fast, late := open(t, w, engine.WebSocket), open(t, w, engine.Polling)
	require.Equal(t, m.quotes, late.quotes, "what was traded before it came")
	fast.hears(t) // of the second page
	for range 50 {
		m.trade()
		w.Settle()
		fast.hears(t)
		late.hears(t)
		require.Equal(t, m.quotes, fast.quotes)
		require.Equal(t, m.quotes, late.quotes)
	}
	require.Equal(t, 2, fast.viewers)
}

// However much is traded meanwhile: one message for each symbol, of which nothing is
// missing, and one with the newest number of viewers. On WebSocket they come behind what
// the network had taken.
func TestSlowPageGetsOneQuoteOfEach(t *testing.T) {
	for transport, most := range map[engine.Transport]int{engine.Polling: len(symbols) + 1, engine.WebSocket: 3 * (len(symbols) + 1)} {
		w, m := inMemory(t)
		slow := &page{Client: w.Dial(enginetest.Options{Transport: transport, Paused: true}), quotes: map[string]quote{}}
		for range 2000 {
			m.trade()
			w.Settle()
		}
		others := []*enginetest.Client{w.Dial(enginetest.Options{}), w.Dial(enginetest.Options{})}
		others[0].Close()
		slow.Resume()
		messages := 0
		for ; !maps.Equal(m.quotes, slow.quotes) || slow.viewers != 2; messages++ {
			slow.hears(t)
		}
		slow.None()
		require.LessOrEqual(t, messages, most)
	}
}

// The program itself: a page and its prices on one port, and an end in good order.
func TestProgram(t *testing.T) {
	p := trial.Run(t, trial.Self(t, "-addr", "127.0.0.1:0", "-rate", "1000"))
	url := p.Wait(t, `open (http://\S+) `)
	for path, kind := range map[string]string{
		"/": "text/html", "/prices.js": "text/javascript", "/prices.css": "text/css", "/engine.io.esm.min.js": "text/javascript",
	} {
		response, err := http.Get(url + path)
		require.NoError(t, err)
		_, err = io.Copy(io.Discard, response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		require.Equal(t, http.StatusOK, response.StatusCode)
		require.Contains(t, response.Header.Get("Content-Type"), kind)
	}
	c := &page{Client: enginetest.Dial(t, url, enginetest.Options{}), quotes: map[string]quote{}}
	for trades := 0; trades < 100; {
		c.hears(t)
		trades = 0
		for _, q := range c.quotes {
			trades += q.Trades
		}
	}
	p.Terminate()
	require.Equal(t, "close packet", c.Closed())
	require.Equal(t, 0, p.End(t), p.Output())
}

func TestProgramSaysWhatIsWrong(t *testing.T) {
	p := trial.Run(t, trial.Self(t, "-addr", "127.0.0.1:0"))
	taken := p.Wait(t, `open http://(\S+) `)
	for _, test := range []struct {
		args []string
		says string
	}{
		{[]string{"-addr", taken}, "-addr"},
		{[]string{"-rate", "0"}, "-rate is 1 to 100000"},
	} {
		out, err := trial.Self(t, test.args...).CombinedOutput()
		require.IsType(t, new(exec.ExitError), err)
		require.Contains(t, string(out), test.says)
	}
}

// The client on the page is the one that chat has, which is npm's.
func TestClientOfThePage(t *testing.T) {
	for _, name := range []string{"engine.io.esm.min.js", "engine.io.LICENSE"} {
		ours, err := os.ReadFile("page/" + name)
		require.NoError(t, err)
		chats, err := os.ReadFile("../chat/page/" + name)
		require.NoError(t, err)
		require.Equal(t, string(chats), string(ours), name)
	}
}
