<?php
// What sabre/vobject makes of calendars: a line for each event with its UID, and start and end in seconds since 1970.
require_once "/usr/share/php/Sabre/VObject/autoload.php";
foreach (array_slice($argv, 1) as $file) {
    $calendar = Sabre\VObject\Reader::read(file_get_contents($file));
    foreach ($calendar->VEVENT as $event) {
        $start = $event->DTSTART->getDateTime()->getTimestamp();
        $end = $event->DTEND->getDateTime()->getTimestamp();
        echo "$file {$event->UID} $start $end\n";
    }
}
