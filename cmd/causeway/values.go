package main

import (
	"fmt"
	"math"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// The types of flags that the standard set lacks. Their Set is the only
// parser: flag, environment and configuration file all come through it.
var (
	_ pflag.Value = (*sizeValue)(nil)
	_ pflag.Value = (*durationValue)(nil)
	_ pflag.Value = (*modeValue)(nil)
	_ pflag.Value = (*enumValue)(nil)
	_ pflag.Value = (*addrValue)(nil)
)

// sizeValue is a number of bytes: 4096, 512MiB, 10GiB, 1G (binary), 10GB
// (decimal).
type sizeValue int64

var sizeUnits = []struct {
	suffix string
	bytes  int64
}{
	// Longer suffixes first, since they end in shorter ones.
	{"kib", 1 << 10}, {"mib", 1 << 20}, {"gib", 1 << 30}, {"tib", 1 << 40},
	{"kb", 1e3}, {"mb", 1e6}, {"gb", 1e9}, {"tb", 1e12},
	{"k", 1 << 10}, {"m", 1 << 20}, {"g", 1 << 30}, {"t", 1 << 40},
	{"b", 1},
}

func (v *sizeValue) Set(text string) error {
	number, unit := strings.ToLower(strings.TrimSpace(text)), int64(1)
	for _, u := range sizeUnits {
		if rest, ok := strings.CutSuffix(number, u.suffix); ok {
			number, unit = strings.TrimSpace(rest), u.bytes
			break
		}
	}
	f, err := strconv.ParseFloat(number, 64)
	// The comparison is written so that NaN fails it.
	if err != nil || !(f >= 0 && f*float64(unit) < math.MaxInt64) {
		return fmt.Errorf("%q is not a size such as 512MiB or 10GiB", text)
	}
	*v = sizeValue(f * float64(unit))
	return nil
}

func (v *sizeValue) String() string { return formatSize(int64(*v)) }
func (v *sizeValue) Type() string   { return "size" }

// formatSize writes n in the largest binary unit that divides it, so that
// sizeValue reads the same number back.
func formatSize(n int64) string {
	units := []string{"", "KiB", "MiB", "GiB", "TiB"}
	i := 0
	for n != 0 && n%1024 == 0 && i < len(units)-1 {
		n /= 1024
		i++
	}
	return strconv.FormatInt(n, 10) + units[i]
}

// durationValue is a time.Duration that is not negative.
type durationValue time.Duration

func (v *durationValue) Set(text string) error {
	d, err := time.ParseDuration(strings.TrimSpace(text))
	if err != nil || d < 0 {
		return fmt.Errorf("%q is not a duration such as 500ms, 30s or 1h", text)
	}
	*v = durationValue(d)
	return nil
}

func (v *durationValue) String() string { return time.Duration(*v).String() }
func (v *durationValue) Type() string   { return "duration" }

// modeValue is a set of permission bits, written in octal as chmod takes it.
type modeValue uint32

func (v *modeValue) Set(text string) error {
	n, err := strconv.ParseUint(strings.TrimPrefix(strings.TrimSpace(text), "0o"), 8, 32)
	if err != nil || n > 0o777 {
		return fmt.Errorf("%q is not an octal mask such as 022", text)
	}
	*v = modeValue(n)
	return nil
}

func (v *modeValue) String() string { return fmt.Sprintf("%04o", uint32(*v)) }
func (v *modeValue) Type() string   { return "mask" }

// enumValue is one of a few words.
type enumValue struct {
	value   string
	allowed []string
}

func (v *enumValue) Set(text string) error {
	if !slices.Contains(v.allowed, text) {
		return fmt.Errorf("%q is not one of %s", text, strings.Join(v.allowed, ", "))
	}
	v.value = text
	return nil
}

func (v *enumValue) String() string { return v.value }
func (v *enumValue) Type() string   { return strings.Join(v.allowed, "|") }

// addrValue is a TCP address to listen on. Without a host it is loopback: to
// be reachable from elsewhere, the host has to be written.
type addrValue string

func (v *addrValue) Set(text string) error {
	text = strings.TrimSpace(text)
	if text == "" {
		*v = ""
		return nil
	}
	host, port, err := net.SplitHostPort(text)
	if err != nil {
		return fmt.Errorf("%q is not an address such as 127.0.0.1:8420", text)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return fmt.Errorf("%q has no port number such as in 127.0.0.1:8420", text)
	}
	if host == "" {
		host = "127.0.0.1"
	}
	*v = addrValue(net.JoinHostPort(host, port))
	return nil
}

func (v *addrValue) String() string { return string(*v) }
func (v *addrValue) Type() string   { return "addr" }
