package ops

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"turbine/engine"
)

// A query is the parameters of a request, each at most once.
type query map[string]string

// readQuery reads the request's query. A parameter that is none of known is an error: a
// filter with a typing error would let everything through.
func readQuery(r *http.Request, known ...string) (query, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badQuery("The query cannot be read: it is name=value, with & in between, and with %%XX for other characters than letters and digits.")
	}
	q := query{}
	for name, all := range values {
		switch {
		case !slices.Contains(known, name):
			return nil, badQuery("There is no parameter %.40q here; there are %s.", name, strings.Join(known, ", "))
		case len(all) > 1:
			return nil, badQuery("The parameter %s is there %d times; it may be there once.", name, len(all))
		}
		q[name] = all[0]
	}
	return q, nil
}

func badQuery(format string, a ...any) *problem {
	return newProblem(http.StatusBadRequest, "bad-query", "Bad Request", fmt.Sprintf(format, a...))
}

// The number of things on a page.
const (
	pageLimit    = 100 // where the client does not say
	maxPageLimit = 1000
)

// limit is how many things a page may have.
func (q query) limit() (int, error) {
	text, given := q["limit"]
	if !given {
		return pageLimit, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > maxPageLimit {
		return 0, badQuery("limit is a whole number from 1 to %d.", maxPageLimit)
	}
	return n, nil
}

// A filter is which sessions are asked for. Its zero value lets all through.
type filter struct {
	transport engine.Transport // 0: any
	revision  engine.Revision  // 0: any
	address   netip.Prefix     // the zero Prefix: any
	group     string
	grouped   bool // group counts
}

// filterNames are the parameters of a filter.
var filterNames = []string{"transport", "revision", "group", "address"}

func (q query) filter() (f filter, err error) {
	if text, given := q["transport"]; given {
		for t := engine.Transport(1); int(t) < engine.NumTransports; t++ {
			if t.String() == text {
				f.transport = t
			}
		}
		if f.transport == 0 {
			return filter{}, badQuery("transport is polling or websocket.")
		}
	}
	switch text, given := q["revision"]; {
	case !given:
	case text == "3":
		f.revision = engine.Revision3
	case text == "4":
		f.revision = engine.Revision4
	default:
		return filter{}, badQuery("revision is 3 or 4.")
	}
	f.group, f.grouped = q["group"]
	if text, given := q["address"]; given {
		if f.address, err = parsePrefix(text); err != nil {
			return filter{}, badQuery("address is an IP address such as 192.0.2.7, or a network such as 192.0.2.0/24 or 2001:db8::/32.")
		}
	}
	return f, nil
}

func parsePrefix(text string) (netip.Prefix, error) {
	if strings.Contains(text, "/") {
		p, err := netip.ParsePrefix(text)
		if in6 := p.Bits() - 96; err == nil && p.Addr().Is4In6() && in6 >= 0 { // as the address of a client is shown
			p = netip.PrefixFrom(p.Addr().Unmap(), in6)
		}
		return p, err
	}
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return netip.Prefix{}, fmt.Errorf("ops: %.40q is no address", text)
	}
	a = a.Unmap()
	return netip.PrefixFrom(a, a.BitLen()), nil
}

// lets reports whether s is asked for: what is quick to look at comes first.
func (f *filter) lets(s *engine.Session) bool {
	switch {
	case f.transport != 0 && s.Transport() != f.transport:
		return false
	case f.revision != 0 && s.Revision() != f.revision:
		return false
	case f.address.IsValid() && !f.address.Contains(s.RemoteAddr().Addr().Unmap().WithZone("")):
		return false
	case f.grouped && !s.InGroup(f.group):
		return false
	}
	return s.State() != engine.StateClosed
}
