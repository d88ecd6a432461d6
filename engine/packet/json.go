package packet

import (
	"fmt"
	"unicode/utf8"
)

// jsonEscapes are how JSON.stringify of JavaScript writes the characters of ASCII
// that do not stand for themselves: no more than JSON demands, in the short form.
var jsonEscapes = func() (escapes [utf8.RuneSelf]string) {
	for c := range ' ' {
		escapes[c] = fmt.Sprintf(`\u%04x`, c)
	}
	escapes['"'], escapes['\\'] = `\"`, `\\`
	escapes['\b'], escapes['\f'], escapes['\n'], escapes['\r'], escapes['\t'] = `\b`, `\f`, `\n`, `\r`, `\t`
	return escapes
}()

// appendJSONString appends s as a JSON string, as JSON.stringify writes it.
func appendJSONString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	for _, r := range s { // invalid bytes come as U+FFFD
		if r < utf8.RuneSelf && jsonEscapes[r] != "" {
			dst = append(dst, jsonEscapes[r]...)
		} else {
			dst = utf8.AppendRune(dst, r)
		}
	}
	return append(dst, '"')
}
