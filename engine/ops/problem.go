package ops

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"time"
)

// A problem is an answer for what went wrong, as RFC 9457 has it. Its detail says
// what to do, and holds nothing secret.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
}

// problemType is what the names of all kinds of problem begin with.
const problemType = "urn:turbine:problem:"

// newProblem is one of a kind, which is one word or has dashes.
func newProblem(status int, kind, title, detail string) *problem {
	return &problem{Type: problemType + kind, Title: title, Status: status, Detail: detail}
}

// Error makes a problem an error, so that a handler's helper can return it.
func (p *problem) Error() string { return p.Detail }

func (p *problem) write(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/problem+json")
	writeBody(w, p.Status, p)
}

// writeJSON answers with v.
func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	writeBody(w, status, v)
}

// sendJSON answers with a text that is JSON, and may be long: a client that does not read
// it is no reason to keep its connection.
func sendJSON(w http.ResponseWriter, r *http.Request, text []byte) {
	release(r.Context())
	// Not every ResponseWriter has deadlines; those of net/http do.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(partTimeout))
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(text) // #nosec G705 -- what it has of others is quoted; an error says that whoever asked is gone
}

func writeBody(w http.ResponseWriter, status int, v any) {
	text, err := json.Marshal(v)
	if err != nil { // it is one of ours, so this is a fault of ours
		panic(err)
	}
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // whoever asked is gone
}

// readJSON reads the request's body, one JSON object, into v, which has a field for
// each name that may be in it.
func readJSON(r *http.Request, v any, example string) error {
	decoder := json.NewDecoder(r.Body)
	decoder.DisallowUnknownFields()
	err := decoder.Decode(v)
	if err == nil {
		if _, err = decoder.Token(); err == io.EOF { // Token returns this very value
			return nil
		}
		err = errTwoValues
	}
	if tooLarge := new(http.MaxBytesError); errors.As(err, &tooLarge) {
		return newProblem(http.StatusRequestEntityTooLarge, "too-large", "Content Too Large", "A body has at most 65536 bytes.")
	}
	return newProblem(http.StatusBadRequest, "bad-body", "Bad Request", "The body cannot be read: "+
		strings.TrimPrefix(err.Error(), "json: ")+". Send an object such as "+example+".")
}

var errTwoValues = errors.New("something stands behind the object")
