package watching

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// scraper asks for a page each second, as Prometheus does at most.
type scraper struct {
	url    string
	client http.Client
	cancel context.CancelFunc
	ended  sync.WaitGroup
	err    error // of the first that failed; after stop
}

func startScraper(url string) *scraper {
	ctx, cancel := context.WithCancel(context.Background())
	s := &scraper{url: url, client: http.Client{Transport: &http.Transport{}}, cancel: cancel}
	s.ended.Go(func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if _, err := s.scrape(ctx); err != nil && ctx.Err() == nil {
				s.err = err
				return
			}
		}
	})
	return s
}

// stop ends the asking each second.
func (s *scraper) stop() {
	s.cancel()
	s.ended.Wait()
	s.client.CloseIdleConnections()
}

// scrape asks once, and reports how long the page is.
func (s *scraper) scrape(ctx context.Context) (bytes int, err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, s.url, nil)
	if err != nil {
		return 0, err
	}
	answer, err := s.client.Do(r)
	if err != nil {
		return 0, err
	}
	defer func() { _ = answer.Body.Close() }()
	n, err := io.Copy(io.Discard, answer.Body)
	if err == nil && answer.StatusCode != http.StatusOK {
		err = fmt.Errorf("watching: %s: %s", s.url, answer.Status)
	}
	return int(n), err
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String(), nil
}
