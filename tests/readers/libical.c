/* What libical makes of calendars: a line for each event with its UID, and start and end in seconds since 1970. Says
   on standard error what its restriction check (RFC 5546) and its parser object to, and then fails. */
#include <libical/ical.h>
#include <stdio.h>
#include <stdlib.h>

static char *read_line(char *line, size_t size, void *file)
{
    return fgets(line, (int)size, file);
}

static int objections(icalcomponent *component)
{
    int found = 0;
    for (icalproperty *property = icalcomponent_get_first_property(component, ICAL_XLICERROR_PROPERTY); property;
         property = icalcomponent_get_next_property(component, ICAL_XLICERROR_PROPERTY)) {
        fprintf(stderr, "%s\n", icalproperty_as_ical_string(property));
        found++;
    }
    for (icalcomponent *inner = icalcomponent_get_first_component(component, ICAL_ANY_COMPONENT); inner;
         inner = icalcomponent_get_next_component(component, ICAL_ANY_COMPONENT))
        found += objections(inner);
    return found;
}

static long seconds(struct icaltimetype moment)
{
    return (long)icaltime_as_timet_with_zone(moment, icaltime_get_timezone(moment));
}

int main(int count, char **files)
{
    int found = 0;
    for (int number = 1; number < count; number++) {
        FILE *file = fopen(files[number], "r");
        icalparser *parser = icalparser_new();
        if (!file || !parser)
            return 2;
        icalparser_set_gen_data(parser, file);
        icalcomponent *calendar = icalparser_parse(parser, read_line);
        if (!calendar)
            return 2;
        if (!icalrestriction_check(calendar)) {
            fprintf(stderr, "%s: the restriction check fails\n", files[number]);
            found++;
        }
        found += objections(calendar);
        for (icalcomponent *event = icalcomponent_get_first_component(calendar, ICAL_VEVENT_COMPONENT); event;
             event = icalcomponent_get_next_component(calendar, ICAL_VEVENT_COMPONENT))
            printf("%s %s %ld %ld\n", files[number], icalcomponent_get_uid(event),
                   seconds(icalcomponent_get_dtstart(event)), seconds(icalcomponent_get_dtend(event)));
        icalcomponent_free(calendar);
        icalparser_free(parser);
        fclose(file);
    }
    return found != 0;
}
