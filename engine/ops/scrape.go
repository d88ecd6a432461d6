package ops

import (
	"context"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/common/expfmt"
)

// Whoever may scrape may do so as fast as it can, and with --ops-open metrics that is
// anybody. A page is made for all who ask for its form within pageTime. Pages are made
// one at a time, so scrapes take at most one page of each form in that time, however
// many there are.
//
// A scrape is not told figures twice on one connection: one that comes sooner than
// pageTime behind the scrape before it waits for the next page. Prometheus, which keeps
// its connection, has figures of its own for each scrape.
const (
	pageTime      = 250 * time.Millisecond
	scrapeTimeout = 10 * time.Second // for a peer to take the response; also what Prometheus gives a scrape by default
)

// A form is one of the six that the page has.
type form struct {
	kind expfmt.FormatType
	gzip bool
}

// accepts are what a client accepts that wants a page of a kind, whatever else it said.
var accepts = map[expfmt.FormatType]string{
	expfmt.TypeTextPlain:   string(expfmt.FmtText),
	expfmt.TypeOpenMetrics: string(expfmt.FmtOpenMetrics_1_0_0),
	expfmt.TypeProtoDelim:  string(expfmt.FmtProtoDelim),
}

// formOf is the form that a client asks for.
func formOf(r *http.Request) form {
	kind := expfmt.NegotiateAccept(r.Header, expfmt.FmtOpenMetrics_1_0_0, expfmt.FmtProtoDelim, expfmt.FmtText).FormatType()
	if accepts[kind] == "" {
		kind = expfmt.TypeTextPlain
	}
	return form{kind, acceptsGzip(r)}
}

func acceptsGzip(r *http.Request) bool {
	for _, line := range r.Header.Values("Accept-Encoding") {
		for part := range strings.SplitSeq(line, ",") {
			name, q, _ := strings.Cut(part, ";")
			_, q, _ = strings.Cut(q, "=")
			if strings.EqualFold(strings.TrimSpace(name), "gzip") {
				return strings.Trim(q, "0. ") != "" || q == "" // not q=0 or q=0.000
			}
		}
	}
	return false
}

// A page is one that was made. It does not change.
type page struct {
	began  time.Time // to be made; the figures are those of then or later
	header http.Header
	code   int // 0 is 200
	body   []byte
}

func (p *page) fresh() bool { return p != nil && time.Since(p.began) < pageTime }

// pages are those that are shared.
type pages struct {
	maker http.Handler

	mu   sync.Mutex     // held while a page is made
	last map[form]*page // guarded by mu
}

// newPages are the pages of what a registry gathers.
func newPages(registry prometheus.Gatherer) *pages {
	return &pages{
		maker: promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true, OfferedCompressions: []promhttp.Compression{promhttp.Identity, promhttp.Gzip}}),
		last:  map[form]*page{},
	}
}

// get is a page of the form, which may have been made for somebody else just now.
func (p *pages) get(f form) *page {
	p.mu.Lock()
	defer p.mu.Unlock()
	last := p.last[f]
	if last.fresh() {
		return last
	}
	// The request of the client says more than its form, which is not for others.
	r, err := http.NewRequest(http.MethodGet, "/metrics", nil)
	if err != nil { // there is nothing in it of a client
		panic(err)
	}
	r.Header.Set("Accept", accepts[f.kind])
	if f.gzip {
		r.Header.Set("Accept-Encoding", "gzip")
	}
	made := made{header: http.Header{}}
	if last != nil {
		made.body = make([]byte, 0, len(last.body)*9/8) // figures get longer; a buffer that has to grow leaves more garbage than the metrics
	}
	next := &page{began: time.Now()}
	p.maker.ServeHTTP(&made, r)
	next.header, next.code, next.body = made.header, made.code, made.body
	p.last[f] = next
	return next
}

// ServeHTTP answers a scrape. The page is there before it is written: a peer that does
// not read is no scrape under way, and no reason to keep its connection.
func (p *pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c, ours := r.Context().Value(connKey{}).(*gated)
	if ours && time.Until(c.scrape) > 0 { // the requests of a connection come one after the other
		release(r.Context()) // else connections that only wait would keep everybody else out
		if !pause(r.Context(), c.scrape) {
			panic(http.ErrAbortHandler)
		}
		busy(r.Context()) // until release
	}
	page := p.get(formOf(r))
	if ours {
		c.scrape = page.began.Add(pageTime)
	}
	release(r.Context()) // only the client's reading is waited for from here on
	// Not every ResponseWriter has deadlines; those of net/http do.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(scrapeTimeout))
	for name, values := range page.header {
		w.Header()[name] = values
	}
	if page.code != 0 {
		w.WriteHeader(page.code)
	}
	_, _ = w.Write(page.body) // whoever asked is gone
}

// pause waits until then, and reports whether the client is still there.
func pause(ctx context.Context, then time.Time) bool {
	if d := time.Until(then); d > 0 {
		wait(ctx, d)
	}
	return ctx.Err() == nil
}

// made is an http.ResponseWriter in memory.
type made struct {
	header http.Header
	code   int
	body   []byte
}

func (m *made) Header() http.Header  { return m.header }
func (m *made) WriteHeader(code int) { m.code = code }
func (m *made) Write(p []byte) (int, error) {
	m.body = append(m.body, p...)
	return len(p), nil
}
