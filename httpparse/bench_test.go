package httpparse

import (
	"bytes"
	"math"
	"testing"
	"time"
)

func BenchmarkParse(b *testing.B) {
	for _, c := range []struct{ name, in string }{
		{"small", "GET /engine.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: a\r\n\r\n"},
		{"poll", browserPoll},
		{"post", browserPost},
		{"upgrade", browserUpgrade},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(c.in)))
			p := []byte(c.in)
			var r Request
			for b.Loop() {
				if _, err := Parse(p, &r, Limits{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// A head that comes byte by byte, with HeadEnd in front as the package asks.
func BenchmarkHeadEndByteByByte(b *testing.B) {
	p := []byte(browserPoll)
	b.ReportAllocs()
	b.SetBytes(int64(len(p)))
	for b.Loop() {
		for n := range p {
			HeadEnd(p[:n+1], n)
		}
	}
}

func BenchmarkHeader(b *testing.B) {
	var r Request
	if _, err := Parse([]byte(browserPost), &r, Limits{}); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		r.Header("Origin") // the last one
	}
}

func BenchmarkParams(b *testing.B) {
	p := []byte("EIO=4&transport=polling&t=PXZ1a2b&sid=AAAAAQAAAAEjRWeJq83vASNFZ4mrze8B")
	b.ReportAllocs()
	for b.Loop() {
		var value []byte
		for q := p; len(q) > 0; {
			_, value, q = NextParam(q)
			Unescape(value)
		}
	}
}

func BenchmarkDecode(b *testing.B) {
	for _, c := range []struct {
		name string
		size int
	}{{"64B", 64}, {"4KB", 4096}} {
		b.Run(c.name, func(b *testing.B) {
			p := bytes.Repeat([]byte{'a'}, c.size)
			wire := append([]byte(map[int]string{64: "40\r\n", 4096: "1000\r\n"}[c.size]), p...)
			wire = append(wire, "\r\n0\r\n\r\n"...)
			b.ReportAllocs()
			b.SetBytes(int64(len(wire)))
			for b.Loop() {
				var d Chunked
				for p, done := wire, false; !done; {
					_, p, done, _ = d.Decode(p, math.MaxUint64)
				}
			}
		})
	}
}

func BenchmarkAppend(b *testing.B) {
	dst := make([]byte, 0, 1024)
	at := time.Unix(1700000000, 0)
	b.Run("head", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			p := AppendResponse(dst, 200)
			p = AppendHeader(p, "Content-Type", "text/plain; charset=UTF-8")
			p = AppendHeader(p, "Cache-Control", "no-store")
			p = AppendHeaderInt(p, "Content-Length", 42)
			AppendEnd(p)
		}
	})
	b.Run("date", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			AppendDate(dst, at)
		}
	})
}
