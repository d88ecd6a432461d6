package ops

import (
	"net/http"
	"path"
	"slices"
	"strings"
)

// A route is what is served under one path by one method. serve answers, or returns an
// error: a *problem for the client, or any other for the log. Its request has a body
// of at most maxBody bytes.
type route struct {
	method string // GET is HEAD too
	path   string // a pattern of http.ServeMux, without a method
	scope  Scope
	serve  func(h *Handler, w http.ResponseWriter, r *http.Request) error
}

// changes reports whether the route changes something, which is logged.
func (to *route) changes() bool { return to.method != http.MethodGet }

// routes are all that there are.
var routes = []route{
	{"GET", "/{$}", nothing, (*Handler).page},
	{"GET", "/page/{file}", nothing, (*Handler).pageFile},

	{"GET", "/healthz", Health, (*Handler).healthz},
	{"GET", "/livez", Health, (*Handler).livez},

	{"GET", "/metrics", Metrics, (*Handler).scrape},

	{"GET", "/v1/stats", Read, (*Handler).stats},
	{"GET", "/v1/cluster", Read, (*Handler).cluster},
	{"GET", "/v1/sessions", Read, (*Handler).sessions},
	{"GET", "/v1/sessions/{id}", Read, (*Handler).session},
	{"DELETE", "/v1/sessions/{id}", Sessions, (*Handler).endSession},
	{"GET", "/v1/sessions/{id}/trace", Debug, (*Handler).traceSession}, // with payloads, Payloads too
	{"GET", "/v1/groups", Read, (*Handler).groups},
	{"POST", "/v1/drain", Drain, (*Handler).drain},
	{"GET", "/v1/loglevel", Debug, (*Handler).getLogLevel},
	{"PUT", "/v1/loglevel", Debug, (*Handler).putLogLevel},
	{"GET", "/v1/debug", Debug, (*Handler).getDebug},
	{"PUT", "/v1/debug", Debug, (*Handler).putDebug},

	{"GET", "/debug/pprof/{$}", Debug, (*Handler).profiles},
	{"GET", "/debug/pprof/profile", Debug, (*Handler).cpuProfile},
	{"GET", "/debug/pprof/trace", Debug, (*Handler).trace},
	{"GET", "/debug/pprof/{name}", Debug, (*Handler).profile},
}

// newMux is the table as a mux, which sets the values of a path's parts.
func (h *Handler) newMux() *http.ServeMux {
	byPath := map[string][]*route{}
	for i := range routes {
		byPath[routes[i].path] = append(byPath[routes[i].path], &routes[i])
	}
	mux := http.NewServeMux()
	for pattern, all := range byPath {
		mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) { h.choose(w, r, all) })
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { h.refuse(w, r, errNotFound) })
	return mux
}

var errNotFound = newProblem(http.StatusNotFound, "not-found", "Not Found", "There is nothing under this path. docs/operate.md has what there is.")

// choose serves a request on that of the routes of its path that has its method.
func (h *Handler) choose(w http.ResponseWriter, r *http.Request, all []*route) {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	var allowed []string
	for _, to := range all {
		if to.method == method {
			h.answer(w, r, to)
			return
		}
		allowed = append(allowed, to.method)
		if to.method == http.MethodGet {
			allowed = append(allowed, http.MethodHead)
		}
	}
	slices.Sort(allowed)
	allow := strings.Join(allowed, ", ")
	w.Header().Set("Allow", allow)
	h.refuse(w, r, newProblem(http.StatusMethodNotAllowed, "method", "Method Not Allowed", "Under this path there are "+allow+"."))
}

// isClean reports whether a path is as it is written in the table: the mux would
// redirect what is not.
func isClean(p string) bool {
	clean := path.Clean(p)
	return strings.HasPrefix(p, "/") && (p == clean || p == clean+"/")
}
