package ops

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/common/expfmt"
	"github.com/stretchr/testify/require"
)

// counted are pages that show how often they were made.
func counted() *pages {
	made := 0.0 // one page is made at a time
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{Name: "made"}, func() float64 { made++; return made }))
	return newPages(registry)
}

// scrapeOf asks for a page on a connection, which may be nil, and returns it.
func scrapeOf(t *testing.T, h http.Handler, on *gated, header ...string) (made string, reply *http.Response) {
	r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	if on != nil {
		r = r.WithContext(context.WithValue(r.Context(), connKey{}, net.Conn(on)))
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	body := w.Body.Bytes()
	if w.Header().Get("Content-Encoding") == "gzip" {
		z, err := gzip.NewReader(bytes.NewReader(body))
		require.NoError(t, err)
		body, err = io.ReadAll(z)
		require.NoError(t, err)
	}
	for line := range strings.Lines(string(body)) {
		if n, found := strings.CutPrefix(line, "made_total "); found {
			return strings.TrimSpace(n), w.Result()
		}
		if n, found := strings.CutPrefix(line, "made "); found {
			return strings.TrimSpace(n), w.Result()
		}
	}
	return "", w.Result()
}

// newConn is a connection of a gate, without a request.
func newConn() *gated { return &gated{gate: &gate{most: maxConns}} }

// However many scrape, on however many connections, there is one page in pageTime.
func TestScrapesShareAPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := counted()
		for want := range 3 {
			var scrapes sync.WaitGroup
			for range 100 {
				scrapes.Go(func() {
					made, reply := scrapeOf(t, p, newConn())
					if made != fmt.Sprint(want+1) || reply.StatusCode != 200 {
						t.Errorf("page %s of %d, status %d", made, want+1, reply.StatusCode)
					}
				})
			}
			scrapes.Wait()
			time.Sleep(pageTime - 1)
			made, _ := scrapeOf(t, p, nil)
			require.Equal(t, fmt.Sprint(want+1), made)
			time.Sleep(time.Nanosecond)
		}
	})
}

// On one connection each scrape has figures that are newer than those of the one before:
// at any interval that Prometheus is set to, and for one that asks as fast as it can.
func TestScrapesOfAConnectionHaveNewFigures(t *testing.T) {
	for _, interval := range []time.Duration{0, time.Millisecond, pageTime, time.Second, 15 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			p, on, other := counted(), newConn(), newConn()
			began := time.Now()
			for n := range 5 {
				made, _ := scrapeOf(t, p, on)
				require.Equal(t, fmt.Sprint(n+1), made, "%v", interval)
				made, _ = scrapeOf(t, p, other) // another replica has the same figures at the same time
				require.Equal(t, fmt.Sprint(n+1), made)
				require.Equal(t, time.Duration(n)*max(interval, pageTime), time.Since(began))
				time.Sleep(interval)
			}
		})
	}
}

// Neither does a client that asks for another form each time have more pages.
func TestAlternatingScrapesWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, on := counted(), newConn()
		began := time.Now()
		for n := range 8 {
			_, _ = scrapeOf(t, p, on, "Accept", openMetrics, "Accept-Encoding", []string{"gzip", "identity"}[n%2])
		}
		require.Equal(t, 7*pageTime, time.Since(began))
	})
}

// A client that leaves while it waits for the next page is not served.
// A scrape that waits for its page holds its connection's place for nobody: clients that
// scrape without a pause do not keep others out.
func TestScrapesThatWaitMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pages, g := counted(), &gate{most: 2}
		var waiting sync.WaitGroup
		for range g.most {
			near, far := net.Pipe()
			defer far.Close()
			c := &gated{Conn: near, gate: g}
			require.True(t, g.admit(c))
			waiting.Go(func() {
				for range 2 { // the second waits
					done := c.serve()
					scrapeOf(t, pages, c)
					done()
				}
			})
		}
		synctest.Wait()
		near, far := net.Pipe()
		defer far.Close()
		require.True(t, g.admit(&gated{Conn: near, gate: g}), "somebody else")
		require.Equal(t, g.most, g.open)
		waiting.Wait()
		require.Equal(t, g.most, g.idle.Len(), "each has its place, or none any more")
	})
}

func TestScrapeOfAClientThatLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p, on := counted(), newConn()
		_, _ = scrapeOf(t, p, on)
		ctx, leave := context.WithCancel(context.WithValue(t.Context(), connKey{}, net.Conn(on)))
		ended := make(chan any)
		go func() {
			defer func() { ended <- recover() }()
			p.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/metrics", nil).WithContext(ctx))
		}()
		synctest.Wait()
		leave()
		require.Equal(t, http.ErrAbortHandler, <-ended)
		require.Len(t, p.last, 1)
	})
}

// Whatever a client accepts, it has one of six forms: so there are no more pages.
func TestFormsOfThePage(t *testing.T) {
	for _, c := range []struct {
		accept, encoding string
		kind             expfmt.FormatType
		gzip             bool
	}{
		{"", "", expfmt.TypeTextPlain, false},
		{"*/*", "identity", expfmt.TypeTextPlain, false},
		{"text/html", "br", expfmt.TypeTextPlain, false},
		{openMetrics, "gzip", expfmt.TypeOpenMetrics, true},
		{"application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.5", "deflate, GZIP;q=0.1", expfmt.TypeOpenMetrics, true},
		{"application/openmetrics-text;version=0.0.1", "gzip;q=0", expfmt.TypeTextPlain, false},
		{"text/plain;version=0.0.4", "gzip; q=0.000, br", expfmt.TypeTextPlain, false},
		{"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited", "zstd, gzip", expfmt.TypeProtoDelim, true},
		{"application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text", "gzipped", expfmt.TypeTextPlain, false},
		{strings.Repeat("a/b;c=\"", 2000), ";;,=,gzip;;q", expfmt.TypeTextPlain, true},
	} {
		r := httptest.NewRequest(http.MethodGet, "/metrics", nil)
		r.Header.Set("Accept", c.accept)
		r.Header.Set("Accept-Encoding", c.encoding)
		require.Equal(t, form{c.kind, c.gzip}, formOf(r), "%.100q %q", c.accept, c.encoding)
	}
}

// Each form is a page of its own, and says what it is.
func TestEachFormIsAPage(t *testing.T) {
	p := counted()
	for kind, accept := range accepts {
		for encoding, want := range map[string]string{"gzip": "gzip", "zstd": ""} {
			made, reply := scrapeOf(t, p, nil, "Accept", accept, "Accept-Encoding", encoding)
			require.Equal(t, want, reply.Header.Get("Content-Encoding"))
			got := expfmt.ResponseFormat(reply.Header)
			if kind == expfmt.TypeOpenMetrics { // of which ResponseFormat knows nothing
				require.Contains(t, reply.Header.Get("Content-Type"), "application/openmetrics-text; version=1.0.0")
			} else {
				require.Equal(t, kind, got.FormatType())
			}
			if kind != expfmt.TypeProtoDelim {
				require.NotEmpty(t, made)
			}
		}
	}
	require.Len(t, p.last, 6)
}

// What a page costs is made once for everybody, also where it cannot be made.
func TestPageThatCannotBeMade(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(broken{})
	p := newPages(registry)
	for range 2 {
		_, reply := scrapeOf(t, p, nil)
		require.Equal(t, http.StatusInternalServerError, reply.StatusCode)
	}
	require.Len(t, p.last, 1)
}

type broken struct{}

func (broken) Describe(chan<- *prometheus.Desc) {}

func (broken) Collect(metrics chan<- prometheus.Metric) {
	metrics <- prometheus.NewInvalidMetric(prometheus.NewDesc("broken", "", nil, nil), io.ErrUnexpectedEOF)
}
