package httpparse

import (
	"strconv"
	"time"
)

// AppendResponse appends the status line of HTTP/1.1 to dst, RFC 9112, 4. The
// reason is empty for a status not in our table. A status outside 100 to 999 is
// a mistake of the caller and goes out as 500. The caller owns dst, as in all
// functions here; none of them allocates when dst has room.
func AppendResponse(dst []byte, status int) []byte {
	if status < 100 || status > 999 {
		status = 500
	}
	dst = append(dst, "HTTP/1.1 "...)
	dst = append(dst, byte('0'+status/100), byte('0'+status/10%10), byte('0'+status%10), ' ')
	dst = append(dst, reason(status)...)
	return AppendEnd(dst)
}

// AppendHeader appends one header field and its CRLF, RFC 9112, 5. name must be
// a token and is not checked: it is the program's own. A value may come from
// elsewhere, so control bytes in it, CR and LF among them, become spaces and
// cannot end the line: RFC 9110, 5.5.
func AppendHeader(dst []byte, name, value string) []byte {
	dst = appendName(dst, name)
	start := len(dst)
	dst = append(dst, value...)
	blankControls(dst[start:])
	return AppendEnd(dst)
}

// AppendHeaderBytes is AppendHeader for a value in bytes. It borrows value.
func AppendHeaderBytes(dst []byte, name string, value []byte) []byte {
	dst = appendName(dst, name)
	start := len(dst)
	dst = append(dst, value...)
	blankControls(dst[start:])
	return AppendEnd(dst)
}

// AppendHeaderInt is AppendHeader for a decimal number.
func AppendHeaderInt(dst []byte, name string, value int64) []byte {
	dst = strconv.AppendInt(appendName(dst, name), value, 10)
	return AppendEnd(dst)
}

// AppendDate appends a Date field, RFC 9110, 6.6.1, of t in any zone, to the
// second. The year must have four digits. It costs as much as the rest of a
// response head: a busy caller keeps the bytes for a second.
func AppendDate(dst []byte, t time.Time) []byte {
	const imfFixdate = "Mon, 02 Jan 2006 15:04:05 GMT" // RFC 9110, 5.6.7
	dst = t.UTC().AppendFormat(appendName(dst, "Date"), imfFixdate)
	return AppendEnd(dst)
}

// AppendEnd appends the empty line behind the last header field.
func AppendEnd(dst []byte) []byte { return append(dst, '\r', '\n') }

func appendName(dst []byte, name string) []byte {
	dst = append(dst, name...)
	return append(dst, ':', ' ')
}

// blankControls writes a space over each byte that may not be in a value.
func blankControls(p []byte) {
	if valueBytes(p) {
		return
	}
	for i, c := range p {
		if class[c]&isValue == 0 {
			p[i] = ' '
		}
	}
}

// reason returns the phrase of RFC 9110, 15 (426: 15.5.22; 429, 431: RFC 6585)
// for each status a server of ours sends.
func reason(status int) string {
	switch status {
	case 100:
		return "Continue"
	case 101:
		return "Switching Protocols"
	case 200:
		return "OK"
	case 201:
		return "Created"
	case 204:
		return "No Content"
	case 301:
		return "Moved Permanently"
	case 302:
		return "Found"
	case 304:
		return "Not Modified"
	case 400:
		return "Bad Request"
	case 401:
		return "Unauthorized"
	case 403:
		return "Forbidden"
	case 404:
		return "Not Found"
	case 405:
		return "Method Not Allowed"
	case 408:
		return "Request Timeout"
	case 411:
		return "Length Required"
	case 413:
		return "Content Too Large"
	case 414:
		return "URI Too Long"
	case 415:
		return "Unsupported Media Type"
	case 417:
		return "Expectation Failed"
	case 426:
		return "Upgrade Required"
	case 429:
		return "Too Many Requests"
	case 431:
		return "Request Header Fields Too Large"
	case 500:
		return "Internal Server Error"
	case 501:
		return "Not Implemented"
	case 502:
		return "Bad Gateway"
	case 503:
		return "Service Unavailable"
	case 504:
		return "Gateway Timeout"
	case 505:
		return "HTTP Version Not Supported"
	}
	return ""
}
