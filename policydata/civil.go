package policydata

// timePart returns a part of a timestamp in UTC.
func timePart(v value, part int) value {
	const daySeconds = 24 * 60 * 60
	if v.kind != kindTime {
		return value{}
	}
	day, second := v.n/daySeconds, v.n%daySeconds
	if second < 0 {
		day, second = day-1, second+daySeconds
	}
	year, month, date, yearDay := civil(day)
	switch part {
	case PartFullYear:
		return intValue(int(year))
	case PartMonth:
		return intValue(month - 1)
	case PartDate:
		return intValue(date)
	case PartDayOfMonth:
		return intValue(date - 1)
	case PartDayOfWeek:
		return intValue(int((day%7 + 11) % 7)) // 1970-01-01 was a Thursday
	case PartDayOfYear:
		return intValue(yearDay)
	case PartHours:
		return intValue(int(second / 3600))
	case PartMinutes:
		return intValue(int(second / 60 % 60))
	case PartSeconds:
		return intValue(int(second % 60))
	case PartMillis:
		return intValue(int(v.count / 1e6))
	}
	return value{}
}

// civil returns the date of a day counted from 1970-01-01 in the Gregorian
// calendar, month and day from 1, and the day of the year from 0.
func civil(day int64) (year int64, month, date, yearDay int) {
	const (
		day0   = 719468 // from 0000-03-01, with which years begin here: leap days come last
		in400  = 146097
		in100  = 36524
		in4    = 1461
		inYear = 365
	)
	day += day0
	era := day / in400
	if day < 0 {
		era = (day - in400 + 1) / in400
	}
	d := int(day - era*in400)
	y := (d - d/(in4-1) + d/in100 - d/(in400-1)) / inYear
	year = int64(y) + era*400
	d -= inYear*y + y/4 - y/100
	m := (5*d + 2) / 153 // months from March, of 31, 30, 31, 30, 31 days
	date = d - (153*m+2)/5 + 1
	const janAndFeb = 31 + 28
	if m >= 10 {
		return year + 1, m - 9, date, d - (inYear - janAndFeb)
	}
	yearDay = d + janAndFeb
	if isLeap(year) {
		yearDay++
	}
	return year, m + 3, date, yearDay
}

func isLeap(year int64) bool { return year%4 == 0 && (year%100 != 0 || year%400 == 0) }
