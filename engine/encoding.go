package engine

import (
	"bytes"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zlib"
)

// contentEncoding is how the body of a response is compressed.
type contentEncoding uint8

const (
	encodingNone contentEncoding = iota
	encodingGzip
	encodingDeflate // the zlib format: RFC 9110, 8.4.1.2
)

// String is the value of Content-Encoding.
func (enc contentEncoding) String() string {
	switch enc {
	case encodingGzip:
		return "gzip"
	case encodingDeflate:
		return "deflate"
	default:
		return "identity"
	}
}

// A preference is what an Accept-Encoding field says about one encoding.
type preference struct {
	quality  int  // in thousandths; 0 when it is not wanted
	explicit bool // by its name, not by "*"
	order    int  // of the item in the field
}

// overrides says that p counts where a field says two things about one
// encoding.
func (p preference) overrides(other preference) bool {
	if p.explicit != other.explicit {
		return p.explicit
	}
	return p.quality >= other.quality
}

// before says that p is preferred to other, another encoding's.
func (p preference) before(other preference) bool {
	if p.quality != other.quality {
		return p.quality > other.quality
	}
	if p.explicit != other.explicit {
		return p.explicit
	}
	return p.order < other.order
}

// negotiateEncoding chooses by an Accept-Encoding field, which it borrows: the
// encoding with the highest quality, of equal ones the named before "*", then
// the first in the field. RFC 9110, 12.5.3. An item that makes no sense is not
// wanted.
func negotiateEncoding(acceptEncoding []byte) contentEncoding {
	var gzip, deflate preference
	for order, rest := 0, acceptEncoding; len(rest) > 0; order++ {
		var item []byte
		item, rest, _ = bytes.Cut(rest, []byte{','})
		name, params, _ := bytes.Cut(item, []byte{';'})
		name = bytes.Trim(name, " \t")
		p := preference{quality: quality(params), explicit: true, order: order}
		switch {
		case bytes.EqualFold(name, []byte("gzip")):
			gzip.learn(p)
		case bytes.EqualFold(name, []byte("deflate")):
			deflate.learn(p)
		case string(name) == "*":
			p.explicit = false
			gzip.learn(p)
			deflate.learn(p)
		}
	}
	switch {
	case gzip.quality == 0 && deflate.quality == 0:
		return encodingNone
	case deflate.before(gzip):
		return encodingDeflate
	}
	return encodingGzip
}

func (p *preference) learn(other preference) {
	if other.overrides(*p) {
		*p = other
	}
}

// quality finds the weight in the parameters of an item, in thousandths. It is
// 1000 when there is none.
func quality(params []byte) int {
	for len(params) > 0 {
		var param []byte
		param, params, _ = bytes.Cut(params, []byte{';'})
		name, value, _ := bytes.Cut(param, []byte{'='})
		if name = bytes.Trim(name, " \t"); len(name) == 1 && name[0]|0x20 == 'q' {
			return parseQuality(bytes.Trim(value, " \t\""))
		}
	}
	return 1000
}

// parseQuality reads a qvalue of RFC 9110, 12.4.2, with any number of digits,
// of which three count. It is 0 for anything else.
func parseQuality(p []byte) int {
	whole, fraction, _ := bytes.Cut(p, []byte{'.'})
	if len(whole) != 1 || whole[0] != '0' && whole[0] != '1' {
		return 0
	}
	n, unit := int(whole[0]-'0')*1000, 100
	for _, c := range fraction {
		if c < '0' || c > '9' {
			return 0
		}
		n += int(c-'0') * unit
		unit /= 10
	}
	return min(n, 1000)
}

// maxEncodingLevel is below 9, which takes seconds for some bodies: too long for
// a loop.
const maxEncodingLevel = 8

// An encoder compresses bodies, one after another: one for each loop. The zero
// value is ready. What it works with is made at the first use of an encoding,
// 0.8 to 1.2 MB each, and kept.
type encoder struct {
	// level is between 1, fastest, and maxEncodingLevel, smallest. Zero means
	// 1: the loop waits for it, and packets shrink little more at the others.
	level int
	out   sink
	gzip  *gzip.Writer
	zlib  *zlib.Writer
}

// sink makes an io.Writer of append.
type sink struct{ p []byte }

func (s *sink) Write(p []byte) (int, error) {
	s.p = append(s.p, p...)
	return len(p), nil
}

// encode appends body in the encoding enc. It borrows body, which must not
// overlap dst. It cannot fail. A body that does not shrink grows, by less than
// 64 bytes and a thousandth.
func (e *encoder) encode(enc contentEncoding, dst, body []byte) []byte {
	e.out.p = dst
	// A sink cannot fail, nor can a level within the bounds: no errors.
	level := min(max(e.level, 1), maxEncodingLevel)
	switch enc {
	case encodingGzip:
		if e.gzip == nil {
			e.gzip, _ = gzip.NewWriterLevel(&e.out, level)
		} else {
			e.gzip.Reset(&e.out)
		}
		_, _ = e.gzip.Write(body)
		_ = e.gzip.Close()
	case encodingDeflate:
		if e.zlib == nil {
			e.zlib, _ = zlib.NewWriterLevel(&e.out, level)
		} else {
			e.zlib.Reset(&e.out)
		}
		_, _ = e.zlib.Write(body)
		_ = e.zlib.Close()
	default:
		e.out.p = append(dst, body...)
	}
	dst, e.out.p = e.out.p, nil
	return dst
}
