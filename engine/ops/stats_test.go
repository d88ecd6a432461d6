package ops

import (
	"encoding/json"
	"reflect"
	"testing"

	"turbine/engine"

	"github.com/stretchr/testify/require"
)

func TestSnakeCase(t *testing.T) {
	for name, want := range map[string]string{
		"Sessions": "sessions", "MaxConns": "max_conns", "TLS": "tls", "OverPerIP": "over_per_ip", "Revision4": "revision4",
		"ByTransport": "by_transport", "PingLateness": "ping_lateness", "IPRate": "ip_rate",
	} {
		require.Equal(t, want, snakeCase(name))
	}
}

// Each figure of engine.Stats is in the answer, by its name, and none under two.
func TestStatsHasEachFigure(t *testing.T) {
	var stats engine.Stats
	set := 0
	fill(reflect.ValueOf(&stats).Elem(), &set)
	all := object{}
	addFigures(all, reflect.ValueOf(stats))
	text, err := json.Marshal(all)
	require.NoError(t, err)
	var decoded any
	require.NoError(t, json.Unmarshal(text, &decoded))
	seen := map[float64]int{}
	collect(decoded, seen)
	for n := 1; n <= set; n++ {
		require.Equal(t, 1, seen[float64(1000+n)], "figure %d of %d: %s", n, set, text)
	}
	require.Contains(t, string(text), `"ping_timeout":`)
	require.Contains(t, string(text), `"handshake_rate":`)
}

// fill gives each number of v another value, except where zero stands for none and
// where a text tells the kind.
func fill(v reflect.Value, set *int) {
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			field := v.Type().Field(i)
			if names := elements[field.Name]; names != nil && field.Type.Kind() == reflect.Array {
				for j := range v.Field(i).Len() {
					if names(j) != "" {
						fill(v.Field(i).Index(j), set)
					}
				}
				continue
			}
			fill(v.Field(i), set)
		}
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), set)
		}
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		for i := range v.Len() {
			fill(v.Index(i), set)
		}
	case reflect.Int, reflect.Int64:
		*set++
		n := int64(1000 + *set)
		if v.Type().String() == "time.Duration" {
			n *= 1e9
		}
		v.SetInt(n)
	case reflect.Uint64:
		*set++
		v.SetUint(uint64(1000 + *set))
	case reflect.Uint8: // a kind, which is a text
	default:
		panic("a figure of a kind that nobody has thought of: " + v.Type().String())
	}
}

func collect(v any, seen map[float64]int) {
	switch v := v.(type) {
	case map[string]any:
		for _, each := range v {
			collect(each, seen)
		}
	case []any:
		for _, each := range v {
			collect(each, seen)
		}
	case float64:
		seen[v]++
	}
}

// Arrays of figures have names for their elements, so that an answer can be read without
// the source.
func TestStatsNamesElements(t *testing.T) {
	var visit func(kind reflect.Type, at string)
	visit = func(kind reflect.Type, at string) {
		for i := range kind.NumField() {
			field := kind.Field(i)
			inner := field.Type
			if inner.Kind() == reflect.Array && field.Name != "Counts" { // of Delays, which have bounds
				require.NotNil(t, elements[field.Name], "%s.%s", at, field.Name)
				names := map[string]bool{}
				for j := range inner.Len() {
					name := elements[field.Name](j)
					require.Regexp(t, `^[a-z0-9_]*$`, name)
					require.False(t, names[name], "%s twice", name)
					require.NotEqual(t, "unknown", name)
					names[name] = true
				}
			}
			for inner.Kind() == reflect.Array || inner.Kind() == reflect.Slice {
				inner = inner.Elem()
			}
			if inner.Kind() == reflect.Struct {
				visit(inner, at+"."+field.Name)
			}
		}
	}
	visit(reflect.TypeFor[engine.Stats](), "Stats")
}

// What is no figure is no part of an answer, whatever somebody adds to the struct.
func TestOnlyFiguresAreTold(t *testing.T) {
	all := object{}
	addFigures(all, reflect.ValueOf(struct {
		N      int
		hidden int
		Secret string
		Bytes  []byte
		Map    map[string]int
		Ptr    *int
		Func   func()
		Any    any
		Rate   float64
		On     bool
	}{N: 1, Secret: "x", Bytes: []byte("x"), Any: "x", Rate: 0.5}))
	require.Equal(t, []any{1, 0.5, false}, []any{all["n"], all["rate"], all["on"]})
	for _, name := range []string{"hidden", "secret", "bytes", "map", "ptr", "func", "any"} {
		require.NotContains(t, all, name)
	}
}
