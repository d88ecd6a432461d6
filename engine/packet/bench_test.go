package packet

import (
	"bytes"
	"strings"
	"testing"
)

var sizes = []struct {
	name string
	n    int
}{{"64B", 64}, {"1KiB", 1 << 10}, {"64KiB", 64 << 10}}

func BenchmarkDecode(b *testing.B) {
	for _, size := range sizes {
		frame := []byte("4" + strings.Repeat("a", size.n))
		b.Run("text/"+size.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_, _ = Revision4.Decode(frame, false)
			}
		})
		// Includes the copy that restores what is decoded in place.
		encoded := append([]byte("b"), appendBase64(nil, bytes.Repeat([]byte{0x5a}, size.n))...)
		scratch := make([]byte, len(encoded))
		b.Run("base64/"+size.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(size.n))
			for b.Loop() {
				copy(scratch, encoded)
				_, _ = Revision4.Decode(scratch, false)
			}
		})
	}
}

// Sixteen packets in one body.
func BenchmarkNext(b *testing.B) {
	for _, r := range []struct {
		name string
		r    Revision
	}{{"rev3", Revision3}, {"rev4", Revision4}} {
		for _, text := range []struct{ name, unit string }{{"ascii", "abcdefgh"}, {"euro", "€€abcdef"}} {
			for _, size := range sizes[:2] {
				ps := make([]Packet, 16)
				for i := range ps {
					ps[i] = message(strings.Repeat(text.unit, size.n/8))
				}
				payload := r.r.AppendPayload(nil, ps, true)
				b.Run(r.name+"/"+text.name+"/"+size.name, func(b *testing.B) {
					b.ReportAllocs()
					b.SetBytes(int64(len(payload)))
					for b.Loop() {
						for rest, more := payload, true; more; more = rest != nil {
							_, rest, _ = r.r.Next(rest)
						}
					}
				})
			}
		}
	}
}

func BenchmarkNextBinary(b *testing.B) {
	ps := make([]Packet, 16)
	for i := range ps {
		ps[i] = bytesOf(make([]byte, 64)...)
	}
	payload := Revision3.AppendPayload(nil, ps, false)
	b.ReportAllocs()
	b.SetBytes(int64(len(payload)))
	for b.Loop() {
		for rest, more := payload, true; more; more = rest != nil {
			_, rest, _ = Revision3.NextBinary(rest)
		}
	}
}

func BenchmarkAppendFrame(b *testing.B) {
	p, dst := message(strings.Repeat("a", 64)), make([]byte, 0, 128)
	b.ReportAllocs()
	for b.Loop() {
		dst, _ = Revision4.AppendFrame(dst[:0], p, false)
	}
}

func BenchmarkAppendPayload(b *testing.B) {
	ps := []Packet{message(strings.Repeat("a", 64)), message("€"), bytesOf(make([]byte, 64)...)}
	dst := make([]byte, 0, 512)
	for _, c := range []struct {
		name   string
		r      Revision
		base64 bool
	}{{"rev4", Revision4, false}, {"rev3", Revision3, false}, {"rev3base64", Revision3, true}} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				dst = c.r.AppendPayload(dst[:0], ps, c.base64)
			}
		})
		b.Run(c.name+"/size", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				_ = c.r.PayloadSize(ps, c.base64)
			}
		})
	}
}

func BenchmarkAppendOpen(b *testing.B) {
	o, dst := openExample(), make([]byte, 0, 256)
	b.ReportAllocs()
	for b.Loop() {
		dst = AppendOpen(dst[:0], o)
	}
}

func BenchmarkUTF16Len(b *testing.B) {
	for _, c := range []struct{ name, unit string }{{"ascii", "abcdefghijkl"}, {"euro", "€€€€"}, {"emoji", "😀😀😀"}} {
		p := []byte(strings.Repeat(c.unit, 100))
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(p)))
			for b.Loop() {
				_ = utf16Len(p)
			}
		})
	}
}
