package inflate

import "math/bits"

// quickBits is up to which length a code is found in one step.
const quickBits = 10

// code is a prefix code (RFC 1951 section 3.2.2).
type code struct {
	quick [1 << quickBits]uint16 // by the next bits: symbol<<4 | length; 0: the code is longer
	count [maxCodeBits + 1]uint16
	order [288]uint16 // symbols by code
}

// make makes the code whose symbols have these lengths. It refuses what is no
// prefix code, and what leaves bits without meaning, unless that is one code of
// one bit (section 3.2.7).
func (c *code) make(lengths []uint8) bool {
	c.count = [maxCodeBits + 1]uint16{}
	for _, n := range lengths {
		c.count[n]++
	}
	used := len(lengths) - int(c.count[0])
	c.count[0] = 0
	left := 1
	var first, next [maxCodeBits + 2]uint16 // of each length: the first code, and its place in order
	for n := 1; n <= maxCodeBits; n++ {
		left = left<<1 - int(c.count[n])
		if left < 0 {
			return false
		}
		first[n+1] = (first[n] + c.count[n]) << 1
		next[n+1] = next[n] + c.count[n]
	}
	if left > 0 && used != 0 && !(used == 1 && c.count[1] == 1) {
		return false
	}
	c.quick = [1 << quickBits]uint16{}
	for symbol, n := range lengths {
		if n == 0 {
			continue
		}
		c.order[next[n]] = uint16(symbol)
		next[n]++
		if n <= quickBits {
			reversed := bits.Reverse16(first[n]) >> (16 - n)
			for i := int(reversed); i < len(c.quick); i += 1 << n {
				c.quick[i] = uint16(symbol)<<4 | uint16(n)
			}
		}
		first[n]++
	}
	return true
}

// symbol reads a symbol.
func (d *decoder) symbol(c *code) (int, bool) {
	if d.count < maxCodeBits {
		d.fill()
	}
	if e := c.quick[d.bits&(1<<quickBits-1)]; e != 0 {
		n := uint(e & 15)
		if n > d.count {
			return 0, false
		}
		d.bits >>= n
		d.count -= n
		return int(e >> 4), true
	}
	// Bit by bit: of each length, codes are numbers in a row.
	value, first, place := 0, 0, 0
	for n := uint(1); n <= min(maxCodeBits, d.count); n++ {
		value |= int(d.bits >> (n - 1) & 1)
		count := int(c.count[n])
		if value-first < count {
			d.bits >>= n
			d.count -= n
			return int(c.order[place+value-first]), true
		}
		place += count
		first = (first + count) << 1
		value <<= 1
	}
	return 0, false
}
