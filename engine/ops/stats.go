package ops

import (
	"fmt"
	"net/http"
	"reflect"
	"runtime"
	"strings"
	"time"
	"unicode"

	"turbine/engine"
)

// stats answers with the server's figures: each field of engine.Stats by its name, so
// that a new one is here without a change; with those of the process; and with the last
// requests that were refused.
func (h *Handler) stats(w http.ResponseWriter, _ *http.Request) error {
	all := object{
		"node":    h.options.name(),
		"version": h.options.Version,
		"go":      runtime.Version(),

		// Of the counts of ping_lateness and loop_lag, which have one more.
		"delay_bounds_seconds": delayBounds(),
	}
	addFigures(all, reflect.ValueOf(h.options.Server.Stats()))
	if h.options.Cluster != nil {
		all["phase"] = h.phase().String()
		all["cluster"] = h.clusterFigures()
	}
	all["process"] = processFigures()
	all["last_refused"] = lastRefused(h.options.Server.LastRefused())
	writeJSON(w, http.StatusOK, all)
	return nil
}

func delayBounds() (seconds []float64) {
	for _, bound := range engine.DelayBounds {
		seconds = append(seconds, bound.Seconds())
	}
	return seconds
}

// A refusedRequest is an engine.RefusedRequest as JSON. What is in it of a client's
// request is that client's to write.
type refusedRequest struct {
	Time   string `json:"time"`
	Cause  string `json:"cause"`
	Value  string `json:"value"`
	Host   string `json:"host"`
	Client string `json:"client"`
}

func lastRefused(all []engine.RefusedRequest) []refusedRequest {
	list := make([]refusedRequest, len(all)) // [] and not null
	for i, r := range all {
		list[i] = refusedRequest{r.Time.UTC().Format("2006-01-02T15:04:05.000Z"), r.Cause.String(), r.Value, r.Host, r.Client}
	}
	return list
}

// An object is one of JSON.
type object map[string]any

// elements are what the elements of an array are called, by the name of the field that
// has it. An element that is called "" is left out.
var elements = map[string]func(int) string{
	"ByTransport": nameFromOne(func(i int) fmt.Stringer { return engine.Transport(i) }),
	"Closed":      nameFromOne(func(i int) fmt.Stringer { return engine.Reason(i) }),
	"Failed":      nameFromOne(func(i int) fmt.Stringer { return engine.UpgradeEnd(i) }),
	"Limits":      func(i int) string { return engine.Limit(i).String() },
	"Refused":     nameFromOne(func(i int) fmt.Stringer { return engine.Cause(i) }),
}

// nameFromOne is for kinds whose zero is none.
func nameFromOne(kind func(int) fmt.Stringer) func(int) string {
	return func(i int) string {
		if i == 0 {
			return ""
		}
		return strings.ReplaceAll(kind(i).String(), " ", "_")
	}
}

// addFigures adds the fields of a struct. There are numbers in it, texts of kinds, and
// structs and arrays of these: nothing else is taken, so no secret can come to be in an
// answer by a field that somebody adds.
func addFigures(to object, of reflect.Value) {
	for i := range of.NumField() {
		field := of.Type().Field(i)
		if !field.IsExported() {
			continue
		}
		name := snakeCase(field.Name)
		if field.Type == reflect.TypeFor[time.Duration]() {
			name += "_seconds"
		}
		if v, ok := figure(of.Field(i), elements[field.Name]); ok {
			to[name] = v
		}
	}
}

// figure is a value as JSON has it. names are for the elements of an array.
func figure(v reflect.Value, names func(int) string) (any, bool) {
	switch kind := v.Kind(); {
	case v.Type() == reflect.TypeFor[time.Duration]():
		return time.Duration(v.Int()).Seconds(), true
	case kind == reflect.Struct:
		o := object{}
		addFigures(o, v)
		return o, true
	case kind == reflect.Array && names != nil:
		o := object{}
		for i := range v.Len() {
			if element, ok := figure(v.Index(i), nil); ok && names(i) != "" {
				o[names(i)] = element
			}
		}
		return o, true
	case kind == reflect.Array, kind == reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 { // it is a text, or a secret
			return nil, false
		}
		list := make([]any, 0, v.Len())
		for i := range v.Len() {
			if element, ok := figure(v.Index(i), nil); ok {
				list = append(list, element)
			}
		}
		return list, true
	case !v.CanInt() && !v.CanUint() && !v.CanFloat() && kind != reflect.Bool:
		return nil, false
	}
	if kind, ok := v.Interface().(fmt.Stringer); ok {
		return kind.String(), true
	}
	return v.Interface(), true
}

// snakeCase is a name of Go as JSON has it: OverPerIP is over_per_ip.
func snakeCase(name string) string {
	var out strings.Builder
	letters := []rune(name)
	for i, r := range letters {
		begins := i > 0 && unicode.IsUpper(r) &&
			(!unicode.IsUpper(letters[i-1]) || i+1 < len(letters) && unicode.IsLower(letters[i+1]))
		if begins {
			out.WriteByte('_')
		}
		out.WriteRune(unicode.ToLower(r))
	}
	return out.String()
}
