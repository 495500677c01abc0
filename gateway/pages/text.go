package pages

import (
	"fmt"
	"math"
	"strconv"
	"time"
)

// humanSize writes a number of bytes with three digits and a binary unit.
func humanSize(n int64) string {
	if n < 1024 {
		return strconv.FormatInt(n, 10) + " B"
	}
	v, unit := float64(n), 0
	for units := "KMGTPE"; v >= 999.5 && unit < len(units); unit++ {
		v /= 1024
	}
	digits := 0
	switch {
	case v < 9.995:
		digits = 2
	case v < 99.95:
		digits = 1
	}
	return strconv.FormatFloat(v, 'f', digits, 64) + " " + "KMGTPE"[unit-1:unit] + "iB"
}

// humanCount writes a number with thin spaces between groups of three digits.
func humanCount[T int | int64](n T) string {
	s := strconv.FormatInt(int64(n), 10)
	for i := len(s) - 3; i > 0 && s[i-1] != '-'; i -= 3 {
		s = s[:i] + "\u202f" + s[i:]
	}
	return s
}

// plural writes a number with its noun.
func plural[T int | int64](n T, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return humanCount(n) + " " + noun + "s"
}

// humanMs writes milliseconds with as many digits as say something.
func humanMs(ms float64) string {
	switch {
	case ms == 0:
		return "–"
	case ms < 10:
		return strconv.FormatFloat(ms, 'f', 1, 64) + " ms"
	case ms < 1000:
		return strconv.FormatFloat(math.Round(ms), 'f', 0, 64) + " ms"
	}
	return strconv.FormatFloat(ms/1000, 'f', 1, 64) + " s"
}

// humanDuration writes a duration with its largest unit, or two of them.
func humanDuration(d time.Duration) string {
	d = max(d, 0)
	switch {
	case d < time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < time.Hour:
		return fmt.Sprintf("%d min %d s", int(d.Minutes()), int(d.Seconds())%60)
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h %d min", int(d.Hours()), int(d.Minutes())%60)
	}
	return fmt.Sprintf("%d days", int(d.Hours()/24))
}

// humanAge is humanDuration since t, as of now.
func humanAge(now, t time.Time) string { return humanDuration(now.Sub(t)) }

// clock writes a moment for people, in UTC; scripts turn it into local time.
func clock(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") }

func iso(t time.Time) string { return t.UTC().Format(time.RFC3339) }
