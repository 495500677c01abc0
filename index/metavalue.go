package index

import (
	"encoding/base64"
	"encoding/json"
	"math"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// parseNumber parses an unsigned 32-bit number into *n and sets *has.
func parseNumber(s string, base int, n *uint32, has *bool) bool {
	v, err := strconv.ParseUint(s, base, 32)
	if err != nil {
		return false
	}
	*n, *has = uint32(v), true
	return true
}

// parseMode parses st_mode. s3fs writes it decimal ("33188"), rclone octal
// ("100644"), and neither says so. The octal reading holds if it is possible
// and has the bits of a file type while the decimal one has not; and for what
// has no type in either reading if there is a leading zero ("0644").
func parseMode(s string) (uint32, bool) {
	const all = modeType | modePerm
	decimal, err := strconv.ParseUint(s, 10, 32)
	if err != nil || s[0] == '+' {
		return 0, false
	}
	if octal, err := strconv.ParseUint(s, 8, 32); err == nil && octal <= all {
		_, octalType := typeOf(uint32(octal))
		_, decimalType := typeOf(uint32(decimal))
		decimalType = decimalType && decimal <= all
		if octalType && !decimalType || s[0] == '0' && octal <= modePerm {
			return uint32(octal), true
		}
	}
	return uint32(decimal), decimal <= all
}

// Bounds of times that fit into the nanoseconds of an int64.
var (
	minSecond = time.Unix(0, math.MinInt64+1).Unix() + 1
	maxSecond = time.Unix(0, math.MaxInt64).Unix() - 1
)

// parseTime parses decimal seconds since 1970 with an optional sign and
// fraction; digits behind the ninth of the fraction are dropped.
func parseTime(s string) (time.Time, bool) {
	digits, negative := strings.CutPrefix(s, "-")
	whole, fraction, _ := strings.Cut(digits, ".")
	if !onlyDigits(whole) || fraction != "" && !onlyDigits(fraction) {
		return time.Time{}, false
	}
	sec, err := strconv.ParseInt(whole, 10, 64)
	if err != nil || sec > maxSecond {
		return time.Time{}, false
	}
	nsec, err := strconv.ParseInt((fraction + "000000000")[:9], 10, 64)
	if err != nil {
		return time.Time{}, false
	}
	if negative {
		sec, nsec = -sec, -nsec
	}
	return time.Unix(sec, nsec), sec > minSecond
}

func onlyDigits(s string) bool {
	return s != "" && strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' }) < 0
}

// formatTime is the inverse of parseTime, as rclone writes it: without zeros
// at the end of the fraction.
func formatTime(t time.Time) string {
	sec, nsec, sign := t.Unix(), int64(t.Nanosecond()), ""
	if sec < 0 {
		sign = "-"
		sec = -sec
		if nsec > 0 {
			sec, nsec = sec-1, 1e9-nsec
		}
	}
	s := sign + strconv.FormatInt(sec, 10)
	if nsec != 0 {
		s += "." + strings.TrimRight(strconv.FormatInt(1e9+nsec, 10)[1:], "0")
	}
	return s
}

// parseXAttrs parses what s3fs writes: the JSON object of base64 values, with
// everything that is not a letter or digit escaped as in a URL.
func parseXAttrs(s string) (map[string][]byte, bool) {
	text, err := url.PathUnescape(s)
	if err != nil {
		return nil, false
	}
	var coded map[string]string
	if err := json.Unmarshal([]byte(text), &coded); err != nil {
		return nil, false
	}
	x := make(map[string][]byte, len(coded))
	for name, value := range coded {
		raw, err := base64.StdEncoding.DecodeString(value)
		if err != nil || name == "" || strings.IndexByte(name, 0) >= 0 {
			return nil, false
		}
		x[name] = raw
	}
	return x, true
}

func formatXAttrs(x map[string][]byte) string {
	coded := make(map[string]string, len(x))
	for name, value := range x {
		coded[name] = base64.StdEncoding.EncodeToString(value)
	}
	text, err := json.Marshal(coded)
	if err != nil {
		return "" // a map of strings can always be encoded
	}
	return strings.ReplaceAll(url.QueryEscape(string(text)), "+", "%20")
}
