package ops

import (
	"embed"
	"net/http"
	"path"
	"strings"
)

// pageFiles are the status page, as a browser reads them: there is no build step.
// uPlot, which draws the charts, is npm's to the byte (MIT, uPlot.LICENSE next to it).
//
//go:embed page
var pageFiles embed.FS

// pagePolicy lets the page read its own files and ask this listener, and nothing else:
// no script in the document, no other host, no frame around it. A text that a client has
// sent cannot become a part of the document, because trusted types are required and
// none can be made.
const pagePolicy = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; " +
	"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"

// page answers with the document of the status page. Neither it nor its files have
// anything that is not in the program that everybody can download, so they need no scope:
// a browser has no key before the page has asked for one.
func (h *Handler) page(w http.ResponseWriter, r *http.Request) error {
	return servePage(w, r, "index.html")
}

// pageFile answers with one of the page's other files.
func (h *Handler) pageFile(w http.ResponseWriter, r *http.Request) error {
	return servePage(w, r, r.PathValue("file"))
}

func servePage(w http.ResponseWriter, r *http.Request, name string) error {
	text, err := pageFiles.ReadFile("page/" + name)
	if err != nil || strings.Contains(name, "/") {
		return errNotFound
	}
	header := w.Header()
	header.Set("Content-Type", typeOfFile(name))
	header.Set("Content-Security-Policy", pagePolicy)
	header.Set("Cross-Origin-Opener-Policy", "same-origin")
	header.Set("Cross-Origin-Resource-Policy", "same-origin")
	header.Set("Referrer-Policy", "no-referrer")
	header.Set("X-Frame-Options", "DENY")
	release(r.Context()) // the client may be anybody, and take its time
	_, _ = w.Write(text) // #nosec G705 -- one of our files; an error says that whoever asked is gone
	return nil
}

// typeOfFile does not depend on the machine's list of types.
func typeOfFile(name string) string {
	switch path.Ext(name) {
	case ".html":
		return "text/html; charset=utf-8"
	case ".css":
		return "text/css; charset=utf-8"
	case ".js":
		return "text/javascript; charset=utf-8"
	case ".svg":
		return "image/svg+xml"
	}
	return "text/plain; charset=utf-8"
}
