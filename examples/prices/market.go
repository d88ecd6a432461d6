package main

import (
	"encoding/json"
	"math/rand/v2"
	"sync"

	"turbine/engine"
)

// symbols are what is traded.
var symbols = []string{"ALFA", "BRAVO", "CHARLIE", "DELTA", "ECHO", "FOXTROT", "GOLF", "HOTEL"}

// A quote is what a page gets of one symbol: it shows the price, and adds traded and
// trades to what it has.
type quote struct {
	Symbol string `json:"symbol"`
	Price  int    `json:"price"`  // the newest, in cents
	Traded int    `json:"traded"` // pieces since the quote before
	Trades int    `json:"trades"` // in how many trades
}

// viewers says how many pages are open.
type viewers struct {
	Viewers int `json:"viewers"`
}

// floor is the group of all pages.
const floor = "floor"

// A market sends each trade to all pages. Safe from any goroutine.
type market struct {
	server *engine.Server

	mu     sync.Mutex
	quotes map[string]quote // since the market has opened; guarded by mu
	pages  int              // guarded by mu
}

func newMarket() *market {
	m := &market{quotes: map[string]quote{}}
	for _, symbol := range symbols {
		m.quotes[symbol] = quote{Symbol: symbol, Price: 10_000}
	}
	return m
}

// enter gives a new page the quotes there are. What is traded from then on reaches it
// behind them: nothing twice, since the group counts for what is published after Join.
func (m *market) enter(s *engine.Session, _ *engine.Request) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, symbol := range symbols {
		_ = s.SendWith(text(m.quotes[symbol]), engine.SendOptions{Key: symbol}) // an error says that the page is gone
	}
	s.Join(floor)
	m.pages++
	m.tellViewers()
}

func (m *market) leave(*engine.Session, engine.Reason, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pages--
	m.tellViewers()
}

// tellViewers has a Key alone: the newest number takes the place of one that waits.
// m.mu is held, so that the newest is also the last.
func (m *market) tellViewers() {
	m.publish(text(viewers{m.pages}), engine.SendOptions{Key: "viewers"})
}

// trade makes a trade. Of a page that is behind, it changes the quote that waits: the
// page gets one for each symbol, however long it was away.
func (m *market) trade() {
	m.mu.Lock()
	defer m.mu.Unlock()
	symbol := symbols[rand.IntN(len(symbols))] // #nosec G404 -- no money is in it
	q := m.quotes[symbol]
	next := quote{Symbol: symbol, Price: max(1, q.Price+rand.IntN(201)-100), Traded: 1 + rand.IntN(500), Trades: 1} // #nosec G404 -- the same
	m.quotes[symbol] = q.with(next)
	m.publish(text(next), engine.SendOptions{Key: symbol, Merge: merge})
}

func (m *market) publish(message engine.Message, o engine.SendOptions) {
	p, err := engine.Prepare(message)
	if err != nil {
		panic(err) // JSON is UTF-8
	}
	_ = m.server.Publish(floor, p.With(o)) // an error says that the server has ended
}

// with is one quote of two: the newest price, and what was traded in both.
func (q quote) with(next quote) quote {
	return quote{q.Symbol, next.Price, q.Traded + next.Traded, q.Trades + next.Trades}
}

// merge is with for messages that wait.
func merge(waiting, next engine.Message) engine.Message {
	return text(read(waiting).with(read(next)))
}

func text(v any) engine.Message {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // numbers and names
	}
	return engine.Message{Data: data}
}

func read(m engine.Message) (q quote) {
	if err := json.Unmarshal(m.Data, &q); err != nil {
		panic(err) // it is of text
	}
	return q
}
