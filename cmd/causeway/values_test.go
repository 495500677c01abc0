package main

import (
	"testing"
	"time"

	"github.com/spf13/pflag"
)

func TestSizes(t *testing.T) {
	for text, want := range map[string]int64{
		"0": 0, "4096": 4096, "4096B": 4096, "1k": 1024, "1KB": 1000, "1KiB": 1024,
		"512MiB": 512 << 20, "10GiB": 10 << 30, "1.5G": 3 << 29, " 2 TiB ": 2 << 40,
	} {
		var v sizeValue
		if err := v.Set(text); err != nil || int64(v) != want {
			t.Errorf("Set(%q) = %d, %v, want %d", text, v, err, want)
			continue
		}
		var again sizeValue
		if err := again.Set(v.String()); err != nil || again != v {
			t.Errorf("%q prints as %q, which is read as %d, %v", text, v.String(), again, err)
		}
	}
}

func TestBadValues(t *testing.T) {
	for name, c := range map[string]struct {
		value pflag.Value
		texts []string
	}{
		"size":     {new(sizeValue), []string{"", "x", "-1", "1XB", "NaN", "1e30", "Inf"}},
		"duration": {new(durationValue), []string{"", "5", "-1s", "soon"}},
		"mode":     {new(modeValue), []string{"", "8", "0x1", "-2", "01000"}},
		"addr":     {new(addrValue), []string{"localhost", "1.2.3.4", ":x", ":99999", ":080"}},
		"enum":     {&enumValue{"a", []string{"a", "b"}}, []string{"", "c", "A"}},
	} {
		before := c.value.String()
		for _, text := range c.texts {
			if err := c.value.Set(text); err == nil {
				t.Errorf("%s: %q is accepted as %s", name, text, c.value)
			}
			if got := c.value.String(); got != before {
				t.Errorf("%s: %q was refused and changed the value to %s", name, text, got)
			}
		}
	}
}

func TestCoordinators(t *testing.T) {
	for text, want := range map[string]string{
		"s3": "s3", "etcd://a": "etcd://a:2379", "etcd://a:1,b/": "etcd://a:1,b:2379", "etcd://[::1]": "etcd://[::1]:2379",
	} {
		var v coordinatorValue
		if err := v.Set(text); err != nil || v.String() != want {
			t.Errorf("%s: %s, %v; want %s", text, v.String(), err, want)
		}
	}
	for _, text := range []string{"", "etcd", "etcd://", "etcd://a,,b", "etcd://a/b", "http://a"} {
		var v coordinatorValue
		if err := v.Set(text); err == nil {
			t.Errorf("%q is taken for %s", text, v.String())
		}
	}
}

func TestAddressesAreLoopbackUnlessAHostIsWritten(t *testing.T) {
	for text, want := range map[string]string{
		":8421": "127.0.0.1:8421", "0.0.0.0:1": "0.0.0.0:1", "[::1]:2": "[::1]:2", "": "", "localhost:0": "localhost:0",
	} {
		var v addrValue
		if err := v.Set(text); err != nil || string(v) != want {
			t.Errorf("Set(%q) = %q, %v, want %q", text, v, err, want)
		}
	}
}

func TestZeroIsNotTheDefault(t *testing.T) {
	if got := orShortest(0); got != time.Nanosecond {
		t.Errorf("orShortest(0) = %v", got)
	}
	if got := orShortest(durationValue(time.Minute)); got != time.Minute {
		t.Errorf("orShortest(1m) = %v", got)
	}
}

func TestHumanSize(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0 B", 1023: "1023 B", 1024: "1 KiB", 1536: "1.5 KiB", 1023 << 10: "0.999 MiB", 10 << 30: "10 GiB", 123 << 20: "123 MiB",
	} {
		if got := humanSize(n); got != want {
			t.Errorf("humanSize(%d) = %q, want %q", n, got, want)
		}
	}
}
